/*
 * Texts that users write: addresses, and which interfaces to use. The first byte says which.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/interface.h"
#include "control/sock.h"
#include "fuzz/fuzz.h"

#include <string.h>

static void check_address(const char *text)
{
    char host[SHL_SOCK_TEXT_BYTES];
    uint16_t port = 0;
    struct shl_sockaddr addr;
    shl_error_set("");
    if (shl_sock_split(text, -1, host, sizeof(host), &port) != SHOAL_OK) {
        FUZZ_REQUIRE(shl_error_text()[0] != 0);
        return;
    }
    FUZZ_REQUIRE(memchr(host, 0, sizeof(host)) != NULL);
    if (shl_sockaddr_parse(host, port, &addr)) {
        char formatted[SHL_SOCK_TEXT_BYTES], again[SHL_SOCK_TEXT_BYTES];
        uint16_t port_again = 0;
        shl_sockaddr_format(&addr, formatted, sizeof(formatted));
        FUZZ_REQUIRE(shl_sock_split(formatted, -1, again, sizeof(again), &port_again) == SHOAL_OK);
        FUZZ_REQUIRE(port_again == port && shl_sockaddr_port(&addr) == port);
    }
}

static void check_interfaces(const char *spec)
{
    struct shl_interface list[3] = {{.name = "lo", .prefix_bits = 8, .up = true, .loopback = true},
                                    {.name = "eth0", .prefix_bits = 24, .up = true},
                                    {.name = "docker0", .prefix_bits = 16, .up = true}};
    uint32_t chosen[3], count = 0;
    shl_sockaddr_parse("127.0.0.1", 0, &list[0].addr);
    shl_sockaddr_parse("10.0.0.5", 0, &list[1].addr);
    shl_sockaddr_parse("fd00::1", 0, &list[2].addr);
    shl_error_set("");
    if (shl_interface_select(list, 3, spec, false, chosen, 3, &count) != SHOAL_OK) {
        FUZZ_REQUIRE(shl_error_text()[0] != 0);
        return;
    }
    FUZZ_REQUIRE(count >= 1 && count <= 3);
    for (uint32_t i = 0; i < count; i++)
        FUZZ_REQUIRE(chosen[i] < 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 1)
        return 0;
    char *text = malloc(bytes);
    FUZZ_REQUIRE(text != NULL);
    memcpy(text, data + 1, bytes - 1);
    text[bytes - 1] = 0;
    if (data[0] % 2)
        check_address(text);
    else
        check_interfaces(text);
    free(text);
    return 0;
}
