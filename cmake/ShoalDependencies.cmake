# Required libraries. All that are missing are named at once, with Debian's package names.
#
# shoal_dependencies carries what the library itself links; jansson (JSON) is for programs.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

set(SHOAL_MISSING "")
function(shoal_dependency prefix module package)
  pkg_check_modules(${prefix} IMPORTED_TARGET ${module})
  if(NOT ${prefix}_FOUND)
    set(SHOAL_MISSING "${SHOAL_MISSING} ${package}" PARENT_SCOPE)
  endif()
endfunction()

shoal_dependency(YAML yaml-0.1 libyaml-dev)
shoal_dependency(HWLOC hwloc libhwloc-dev)
shoal_dependency(CRYPTO libcrypto libssl-dev)
shoal_dependency(JANSSON jansson libjansson-dev)
if(SHOAL_MISSING)
  message(FATAL_ERROR "libraries are missing; on Debian: apt-get install${SHOAL_MISSING}")
endif()

add_library(shoal_dependencies INTERFACE)
target_link_libraries(shoal_dependencies INTERFACE
  PkgConfig::YAML PkgConfig::HWLOC PkgConfig::CRYPTO Threads::Threads m)
