/* ladle-protobuf.h - inputs and results that are messages of protobuf-c.
 *
 * Beside ladle.h, for programs that have a .proto file and what protoc-c made of it:
 *
 *     Share input = SHARE__INIT;
 *     future_t *future = futures_submit_message(futures, "work", &input.base, NULL);
 *     Sum *sum = (Sum *)future_result_message(future, &sum__descriptor);
 *
 * and in the task:
 *
 *     Share *input = (Share *)task_read_message(task, &share__descriptor);
 *
 * They are packed and unpacked here; on the wire they are bytes like any other, so that what was
 * submitted as a message may be read as bytes, and the reverse. Messages that are given out belong
 * to the caller: protobuf_c_message_free_unpacked(message, NULL).
 *
 * Bytes that are no such message, or one with messages nested more than 100 deep, fail with EPROTO.
 * So does a message to be packed that lacks a required field. Each failure has its sentence in
 * futures_error(), in tasks too: return task_fail(task, "%s", futures_error()).
 */
#ifndef LADLE_PROTOBUF_H
#define LADLE_PROTOBUF_H

#include "ladle.h"

#include <protobuf-c/protobuf-c.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As futures_submit(). */
LADLE_API future_t *futures_submit_message(futures_t *self, const char *function,
                                           const ProtobufCMessage *input,
                                           const task_options_t *options);
/* As futures_call(): the result, of the type of `descriptor`; NULL where that is -1. */
LADLE_API ProtobufCMessage *futures_call_message(futures_t *self, const char *function,
                                                 const ProtobufCMessage *input,
                                                 const ProtobufCMessageDescriptor *descriptor,
                                                 const task_options_t *options);
/* As futures_mapv(). The messages may be of several types. */
LADLE_API results_t *futures_map_messages(futures_t *self, const char *function,
                                          const ProtobufCMessage *const *messages, size_t count,
                                          const task_options_t *options);

/* As future_result(); anew with each call. */
LADLE_API ProtobufCMessage *future_result_message(future_t *self,
                                                  const ProtobufCMessageDescriptor *descriptor);
/* As results_next(); NULL with EPROTO too, and the iteration goes on. */
LADLE_API ProtobufCMessage *results_next_message(results_t *self,
                                                 const ProtobufCMessageDescriptor *descriptor);

/* The input of a task. NULL with EPROTO, ENOMEM. */
LADLE_API ProtobufCMessage *task_read_message(task_t *self,
                                              const ProtobufCMessageDescriptor *descriptor);
/* As task_return(). -1 with EPROTO, E2BIG, ENOMEM. */
LADLE_API int task_return_message(task_t *self, const ProtobufCMessage *message);

#ifdef __cplusplus
}
#endif

#endif
