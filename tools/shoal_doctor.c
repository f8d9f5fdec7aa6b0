/*
 * `shoal doctor`: that of shoal-cni, under this program's name.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "commands.h"
#include "shoal_tools.h"

int shoal_tool_doctor(int argc, char **argv)
{
    cni_program = "shoal";
    return cni_command_doctor(argc, argv);
}
