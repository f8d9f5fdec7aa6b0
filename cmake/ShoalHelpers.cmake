# Functions that the folders use to list what they hold.

# shoal_sources(file...): files of the calling directory that belong to the library.
function(shoal_sources)
  foreach(file ${ARGN})
    target_sources(shoal_objects PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
  endforeach()
endfunction()

# Settings that make a sanitizer's finding a failed test, whoever runs it.
set(SHOAL_TEST_ENVIRONMENT
  "ASAN_OPTIONS=abort_on_error=0:detect_stack_use_after_return=1:strict_string_checks=1"
  "UBSAN_OPTIONS=print_stacktrace=1"
  "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1")

# shoal_test_program(name SOURCES s... [LIBRARIES l...]): a cmocka program that sees the internals.
function(shoal_test_program name)
  cmake_parse_arguments(T "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${T_SOURCES})
  target_link_libraries(${name} PRIVATE shoal_testing shoal_options PkgConfig::CMOCKA ${T_LIBRARIES})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}/tests")
endfunction()

# shoal_test(name LABELS l... SOURCES s... [LIBRARIES l...] [COMMAND_ARGS a...] [TIMEOUT seconds]):
# such a program as a test. Exit status 77 means skipped; its last line of output then says why.
function(shoal_test name)
  cmake_parse_arguments(T "" "TIMEOUT" "LABELS;SOURCES;LIBRARIES;COMMAND_ARGS" ${ARGN})
  shoal_test_program(${name} SOURCES ${T_SOURCES} LIBRARIES ${T_LIBRARIES})
  add_test(NAME ${name} COMMAND ${name} ${T_COMMAND_ARGS})
  shoal_test_properties(${name} "${T_LABELS}" "${T_TIMEOUT}")
endfunction()

# shoal_check(name COMMAND c... [LABELS l...] [TIMEOUT seconds]): a test that is a command, such as
# a script under tools/. Label `check` unless told otherwise.
function(shoal_check name)
  cmake_parse_arguments(T "" "TIMEOUT" "LABELS;COMMAND" ${ARGN})
  if(NOT T_LABELS)
    set(T_LABELS check)
  endif()
  add_test(NAME ${name} COMMAND ${T_COMMAND} WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
  shoal_test_properties(${name} "${T_LABELS}" "${T_TIMEOUT}")
endfunction()

function(shoal_test_properties name labels timeout)
  if(NOT timeout)
    set(timeout 60)
  endif()
  # Those that may take longest start first, lest one of them runs alone in the end.
  set_tests_properties(${name} PROPERTIES COST ${timeout})
  if(SHOAL_SANITIZE OR SHOAL_COVERAGE OR CMAKE_CROSSCOMPILING)
    math(EXPR timeout "${timeout} * 5") # instrumented or emulated
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${labels}" TIMEOUT ${timeout}
    SKIP_RETURN_CODE 77 ENVIRONMENT "${SHOAL_TEST_ENVIRONMENT}")
endfunction()

set(SHOAL_FUZZ_SECONDS 5 CACHE STRING "time that the test of each fuzz target fuzzes")
add_custom_target(fuzzers COMMENT "all fuzz targets")

# shoal_fuzz(name SOURCES s... CORPUS directory): a libFuzzer target. With SHOAL_FUZZ its test
# fuzzes for SHOAL_FUZZ_SECONDS; without, and with any compiler, its test replays the corpus.
function(shoal_fuzz name)
  cmake_parse_arguments(T "" "CORPUS" "SOURCES" ${ARGN})
  add_executable(${name} ${T_SOURCES})
  add_dependencies(fuzzers ${name})
  target_link_libraries(${name} PRIVATE shoal_testing shoal_options)
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}/tests")
  if(SHOAL_HAS_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    # libFuzzer's own exit status for a finding is that of a skipped test.
    add_test(NAME ${name} COMMAND ${name} -max_total_time=${SHOAL_FUZZ_SECONDS} -timeout=10
      -error_exitcode=1 -rss_limit_mb=2048 -print_final_stats=1 "${PROJECT_BINARY_DIR}/corpus/${name}"
      "${CMAKE_CURRENT_SOURCE_DIR}/${T_CORPUS}")
    file(MAKE_DIRECTORY "${PROJECT_BINARY_DIR}/corpus/${name}")
    math(EXPR limit "${SHOAL_FUZZ_SECONDS} + 60")
    shoal_test_properties(${name} fuzz ${limit})
  else()
    target_sources(${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests/fuzz/replay.c")
    add_test(NAME ${name} COMMAND ${name} "${CMAKE_CURRENT_SOURCE_DIR}/${T_CORPUS}")
    shoal_test_properties(${name} fuzz 60)
  endif()
endfunction()
