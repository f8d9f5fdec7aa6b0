# What `cmake --install` copies, and what lets other projects find it: find_package(shoal) gives
# shoal::shoal, pkg-config gives `shoal`.
include(CMakePackageConfigHelpers)

install(TARGETS shoal EXPORT shoal
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT shoal NAMESPACE shoal:: FILE shoalTargets.cmake
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/shoal")

configure_package_config_file(cmake/shoalConfig.cmake.in "${PROJECT_BINARY_DIR}/shoalConfig.cmake"
  INSTALL_DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/shoal")
# 0.x: a minor version may break the ABI (docs/abi-and-wire-policy.md).
write_basic_package_version_file("${PROJECT_BINARY_DIR}/shoalConfigVersion.cmake"
  VERSION "${PROJECT_VERSION}" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/shoalConfig.cmake"
  "${PROJECT_BINARY_DIR}/shoalConfigVersion.cmake"
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/shoal")

# Relative to the .pc file, so that an installed tree may be moved.
file(RELATIVE_PATH SHOAL_PC_PREFIX "/p/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/p")
configure_file(cmake/shoal.pc.in "${PROJECT_BINARY_DIR}/shoal.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/shoal.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")

# What a Python wheel carries besides the package (pyproject.toml). A wheel has no links, so the
# library goes by the one name that the package looks for.
if(SKBUILD)
  install(FILES "$<TARGET_FILE:shoal>" DESTINATION shoal COMPONENT wheel
    RENAME "libshoal.so.${PROJECT_VERSION_MAJOR}")
  install(PROGRAMS "$<TARGET_FILE:shoal_program>" DESTINATION "${SKBUILD_SCRIPTS_DIR}"
    COMPONENT wheel)
endif()
