# Compiler settings and optional parts.
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_EXTENSIONS ON) # GNU extensions of glibc: memfd, process_vm_readv
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()
option(SHOAL_TESTS "Build the tests (needs cmocka)" ON)
option(SHOAL_WERROR "Treat warnings as errors" ON)
set(SHOAL_SANITIZE "" CACHE STRING "address, undefined or thread")

add_library(shoal_options INTERFACE)
target_compile_definitions(shoal_options INTERFACE _GNU_SOURCE)
target_compile_options(shoal_options INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
  -fno-strict-aliasing $<$<BOOL:${SHOAL_WERROR}>:-Werror>)
if(SHOAL_SANITIZE)
  target_compile_options(shoal_options INTERFACE -fsanitize=${SHOAL_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(shoal_options INTERFACE -fsanitize=${SHOAL_SANITIZE})
endif()
