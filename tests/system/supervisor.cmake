# The supervisor with real executors, without a broker.
add_executable(chores programs/chores.c)
target_include_directories(chores PRIVATE ${PROJECT_SOURCE_DIR}/client)
target_link_libraries(chores PRIVATE ladle_flags ladle_serve ladle_core ladle_proto ladle_base
  PkgConfig::PROTOBUFC Threads::Threads)
ladle_unit_test(channel SOURCES test_channel.c
  LIBS ladle_supervisor ladle_proto ladle_base PkgConfig::PROTOBUFC PkgConfig::SODIUM)
ladle_unit_test(carried SOURCES test_carried.c
  LIBS ladle_serve ladle_core ladle_proto ladle_base PkgConfig::PROTOBUFC)
foreach(name supervisor supervisor_processes supervisor_programs)
  ladle_unit_test(${name} SOURCES test_${name}.c supervised.c
    LIBS ladle_supervisor ladle_proto ladle_base PkgConfig::PROTOBUFC PkgConfig::SODIUM)
  target_compile_definitions(test_${name} PRIVATE CHORES="$<TARGET_FILE:chores>")
  add_dependencies(test_${name} chores)
endforeach()
