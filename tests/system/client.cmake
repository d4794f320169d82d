# The client library: the whole API, in this process, in a local pool, and with the grid in
# $LADLE_BROKER_TEST if there is one.
if(NOT TARGET ladle)
  return()
endif()
add_executable(test_client test_client.c test_client_session.c test_client_future.c
  test_client_list.c test_client_map.c)
target_link_libraries(test_client PRIVATE ladle_flags ladle PkgConfig::CMOCKA Threads::Threads)
foreach(endpoint serial local:2 local:1)
  string(REPLACE ":" "_" name ${endpoint})
  add_test(NAME client_${name} COMMAND test_client ${endpoint})
  set_tests_properties(client_${name} PROPERTIES TIMEOUT 300)
endforeach()
add_test(NAME client_grid COMMAND test_client)
set_tests_properties(client_grid PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77)
add_test(NAME client_exports COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/exports.sh
  $<TARGET_FILE:ladle> $<TARGET_FILE:ladle_static> ${PROJECT_SOURCE_DIR}/client)
