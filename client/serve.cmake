# The executor's side of a task.
add_library(ladle_serve OBJECT registry.c serve.c task.c uplink.c)
target_link_libraries(ladle_serve PRIVATE ladle_flags)
