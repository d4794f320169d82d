# The executor's side of a task.
add_library(ladle_serve OBJECT
  batches.c carried.c crash.c error.c exports.c fold.c nest.c nestcheck.c parcel.c parking.c registry.c
  serve.c shared.c slices.c stacks.c task.c uplink.c)
target_link_libraries(ladle_serve PRIVATE ladle_flags)
