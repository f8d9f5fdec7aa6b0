# Compiler settings, shared by every target through the interface library shoal_options.
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_EXTENSIONS ON) # GNU extensions of glibc: memfd, process_vm_readv
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Debug keeps assertions" FORCE)
endif()

option(SHOAL_WERROR "Treat warnings as errors" ${PROJECT_IS_TOP_LEVEL})
option(SHOAL_COVERAGE "Count executed lines and branches (gcov)" OFF)
set(SHOAL_SANITIZE "" CACHE STRING "address, undefined or thread; several joined by commas")

# -Wformat-truncation: detail lines are cut on purpose, and what gcc can prove about their length
# depends on how it inlines.
add_library(shoal_options INTERFACE)
target_compile_definitions(shoal_options INTERFACE _GNU_SOURCE)
target_compile_options(shoal_options INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
  $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation> -fno-strict-aliasing $<$<BOOL:${SHOAL_WERROR}>:-Werror>)
if(SHOAL_SANITIZE)
  # The first finding ends the program, so that a test cannot pass over it.
  target_compile_options(shoal_options INTERFACE
    -fsanitize=${SHOAL_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(shoal_options INTERFACE -fsanitize=${SHOAL_SANITIZE})
  # gcc warns that ThreadSanitizer does not follow fences; ours order memory shared with other
  # processes, which it does not see in any case.
  if(SHOAL_SANITIZE MATCHES "thread" AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
    target_compile_options(shoal_options INTERFACE -Wno-tsan)
  endif()
endif()
if(SHOAL_COVERAGE)
  target_compile_options(shoal_options INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(shoal_options INTERFACE --coverage)
endif()
