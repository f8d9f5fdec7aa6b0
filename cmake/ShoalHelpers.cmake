# shoal_sources(file...): files of the calling directory that belong to the library.
function(shoal_sources)
  foreach(file ${ARGN})
    target_sources(shoal_objects PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
  endforeach()
endfunction()

# shoal_test(name LABELS l... SOURCES s... [LIBRARIES l...] [TIMEOUT seconds]): a cmocka program
# that sees the internals.
function(shoal_test name)
  cmake_parse_arguments(T "" "TIMEOUT" "LABELS;SOURCES;LIBRARIES;COMMAND_ARGS" ${ARGN})
  add_executable(${name} ${T_SOURCES})
  target_link_libraries(${name} PRIVATE shoal_testing shoal_options PkgConfig::CMOCKA ${T_LIBRARIES})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}/tests")
  add_test(NAME ${name} COMMAND ${name} ${T_COMMAND_ARGS})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 60)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${T_LABELS}" TIMEOUT ${T_TIMEOUT}
    SKIP_RETURN_CODE 77)
endfunction()
