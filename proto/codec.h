/* codec.h - between wire.c, encode.c and decode.c; private to proto/. */
#ifndef LADLE_CODEC_H
#define LADLE_CODEC_H

#include "arena.h"
#include "ladle.pb-c.h"

/* Protobuf's structs for one message: they borrow from it, and from the region. */
struct encoder {
    struct region *region;
    Ladle__V1__Message top;
    union {
        Ladle__V1__Hello hello;
        Ladle__V1__Beat beat;
        Ladle__V1__Bye bye;
        Ladle__V1__Welcome welcome;
        Ladle__V1__Refused refused;
        Ladle__V1__Job job;
        Ladle__V1__Inputs inputs;
        Ladle__V1__JobEnd job_end;
        Ladle__V1__Cancel cancel;
        Ladle__V1__Taken taken;
        Ladle__V1__Accepted accepted;
        Ladle__V1__Ended ended;
        Ladle__V1__Notice notice;
        Ladle__V1__Grid grid;
        Ladle__V1__Slice slice;
        Ladle__V1__Revoke revoke;
        Ladle__V1__GivenBack returned;
        Ladle__V1__Draining draining;
        Ladle__V1__Parked parked;
        Ladle__V1__Share share;
        Ladle__V1__Unshare unshare;
        Ladle__V1__Results results;
        Ladle__V1__Running running;
        Ladle__V1__Progress progress;
        Ladle__V1__Partial partial;
        Ladle__V1__Output output;
        Ladle__V1__ProgramWanted program_wanted;
        Ladle__V1__ProgramPart program_part;
        Ladle__V1__ProgramFailed program_failed;
        Ladle__V1__StatusWanted status_wanted;
        Ladle__V1__Status status;
        Ladle__V1__Told told;
        Ladle__V1__Begins begins;
        Ladle__V1__Noted noted;
        Ladle__V1__Charged charged;
        Ladle__V1__Ack ack;
        Ladle__V1__Held held;
        Ladle__V1__Adopted adopted;
        Ladle__V1__Replay replay;
        Ladle__V1__Drain drain;
        Ladle__V1__DrainAnswer drain_answer;
        Ladle__V1__Attach attach;
        Ladle__V1__Attached attached;
        Ladle__V1__Fetch fetch;
        Ladle__V1__Fetched fetched;
        Ladle__V1__KeptWanted kept_wanted;
        Ladle__V1__Kept kept;
        Ladle__V1__KeptTask kept_task;
    } body;
    Ladle__V1__Job job; /* within a KEPT_TASK */
    Ladle__V1__Columns columns;
    Ladle__V1__Program program;
};

/* Fills e->top; if the region was too small, e->region->over is set. */
void encode_body(struct encoder *e, const struct message *m);

struct decoder {
    struct region *region;
    struct blob *data; /* frame that came with the header; NULL: none */
    const char *fault; /* what is wrong first; NULL: nothing */
    struct spec spec;  /* of a JOB: borrows from the region */
};

/* Fills *m, or sets d->fault. m->type is set in either case if it is known. */
void decode_body(struct decoder *d, const Ladle__V1__Message *top, struct message *m);

#endif
