# The client library: the whole API, in this process, in a local pool, and on a grid.
if(NOT TARGET ladle)
  return()
endif()
add_executable(test_client
  test_api.c test_api_future.c test_api_results.c test_api_session.c test_api_submit.c
  test_api_task.c test_client.c test_client_config.c test_client_exact.c test_client_future.c
  test_client_key.c test_client_list.c test_client_map.c test_client_message.c test_client_meter.c
  test_client_nested.c test_client_nested_ends.c test_client_race.c test_client_reduce.c
  test_client_scan.c
  test_client_session.c test_client_shared.c)
target_link_libraries(test_client PRIVATE ladle_flags ladle PkgConfig::CMOCKA Threads::Threads)
ladle_messages(test_client programs/letters.proto)
foreach(endpoint serial local:2 local:1)
  string(REPLACE ":" "_" name ${endpoint})
  add_test(NAME client_${name} COMMAND test_client ${endpoint})
  set_tests_properties(client_${name} PROPERTIES TIMEOUT 900)
endforeach()
if(TARGET ladle-cli AND TARGET ladle-worker)
  add_test(NAME client_grid COMMAND ladle-cli run -n 2 -- sh -c
    "LADLE_BROKER_TEST=$LADLE_BROKER exec $<TARGET_FILE:test_client>")
  set_tests_properties(client_grid PROPERTIES TIMEOUT 900)
endif()
add_test(NAME client_exports COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/exports.sh
  $<TARGET_FILE:ladle> $<TARGET_FILE:ladle_static> ${PROJECT_SOURCE_DIR}/client)

if(TARGET ladle-worker)
  ladle_unit_test(client_and_broker SOURCES test_client_grid.c
    LIBS ladle system_harness ladle_net ladle_proto ladle_base PkgConfig::ZMQ PkgConfig::PROTOBUFC
      PkgConfig::JANSSON)
  set_tests_properties(client_and_broker PROPERTIES TIMEOUT 900)
  add_dependencies(test_client_and_broker ladle-broker ladle-worker ladle-cli)

  ladle_unit_test(scoop_defects SOURCES test_scoop_defects.c ../unit/grid.c ../unit/tape.c
    LIBS ladle system_harness ladle_scheduler ladle_net ladle_proto ladle_base PkgConfig::ZMQ
      PkgConfig::PROTOBUFC PkgConfig::JANSSON)
  set_tests_properties(scoop_defects PROPERTIES TIMEOUT 900)
  add_dependencies(test_scoop_defects ladle-broker ladle-worker ladle-cli)

  foreach(test limits drain)
    ladle_unit_test(system_${test} SOURCES test_${test}.c bounded.c
      ${PROJECT_SOURCE_DIR}/worker/hierarchy.c ${PROJECT_SOURCE_DIR}/worker/slots.c
      LIBS ladle system_harness ladle_net ladle_proto ladle_base PkgConfig::ZMQ PkgConfig::PROTOBUFC
        PkgConfig::JANSSON)
    set_tests_properties(system_${test} PROPERTIES TIMEOUT 300)
    add_dependencies(test_system_${test} ladle-broker ladle-worker ladle-cli)
  endforeach()

  ladle_unit_test(shared_constants SOURCES test_shared.c gauge.c
    LIBS ladle system_harness ladle_net ladle_proto ladle_base PkgConfig::ZMQ PkgConfig::PROTOBUFC
      PkgConfig::JANSSON)
  set_tests_properties(shared_constants PROPERTIES TIMEOUT 900)
  add_dependencies(test_shared_constants ladle-broker ladle-worker ladle-cli)
endif()

# Jobs that outlive their clients and brokers.
if(TARGET ladle-worker)
  add_library(system_shim SHARED programs/shim.c)
  target_link_libraries(system_shim PRIVATE ladle_flags ${CMAKE_DL_LIBS})
  set_target_properties(system_shim PROPERTIES C_VISIBILITY_PRESET default
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
  foreach(test detached detached_replay store_faults)
    ladle_unit_test(${test} SOURCES test_${test}.c keeping.c
      LIBS ladle system_harness ladle_net ladle_proto ladle_base PkgConfig::ZMQ PkgConfig::PROTOBUFC
        PkgConfig::JANSSON)
    target_compile_definitions(test_${test} PRIVATE LADLE_SHIM="$<TARGET_FILE:system_shim>")
    set_tests_properties(${test} PROPERTIES TIMEOUT 900)
    add_dependencies(test_${test} ladle-broker ladle-worker ladle-cli system_shim)
  endforeach()
  # All of them are rows of the fault matrix, which run one by one: see tests/faults.
  set_tests_properties(store_faults PROPERTIES LABELS rows)
endif()
