# Cross build for 64-bit Arm with Debian's compiler. Libraries come from a sysroot that
# `tools/sysroot.sh DIRECTORY` unpacks; ARM64_SYSROOT in the environment names it. Programs
# built for the target run under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)

if(NOT SHOAL_SYSROOT AND DEFINED ENV{ARM64_SYSROOT})
  set(SHOAL_SYSROOT "$ENV{ARM64_SYSROOT}")
endif()
set(SHOAL_SYSROOT "${SHOAL_SYSROOT}" CACHE PATH "arm64 libraries and headers")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES SHOAL_SYSROOT)
if(NOT SHOAL_SYSROOT)
  message(FATAL_ERROR "set ARM64_SYSROOT to a folder made by tools/sysroot.sh")
endif()

set(CMAKE_SYSROOT "${SHOAL_SYSROOT}")
set(CMAKE_FIND_ROOT_PATH "${SHOAL_SYSROOT}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

set(ENV{PKG_CONFIG_SYSROOT_DIR} "${SHOAL_SYSROOT}")
set(ENV{PKG_CONFIG_LIBDIR}
  "${SHOAL_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${SHOAL_SYSROOT}/usr/share/pkgconfig")

find_program(SHOAL_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
if(SHOAL_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR "${SHOAL_QEMU};-L;${SHOAL_SYSROOT}")
endif()
