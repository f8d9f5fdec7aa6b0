/*
 * Memory that programs announce: what is accepted, and what is said of the rest.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <shoal/shoal.h>

#include <sys/mman.h>
#include <unistd.h>

#define BYTES 65536

static void memory_is_announced_once(void **state)
{
    struct shoal_context *context = NULL;
    void *allocated = NULL;
    (void)state;
    int fd = memfd_create("announced", MFD_CLOEXEC);
    assert_true(fd >= 0 && ftruncate(fd, BYTES) == 0);
    uint8_t *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    ASSERT_OK(shoal_context_create(NULL, &context));
    ASSERT_OK(shoal_mem_register_dmabuf(context, memory + 4096, BYTES - 4096, fd, 4096));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_mem_register(context, memory, BYTES));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_mem_register_dmabuf(context, memory, 4096, -1, 0));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_mem_register_dmabuf(NULL, memory, 4096, fd, 0));
    ASSERT_OK(shoal_mem_deregister(context, memory + 4096));
    ASSERT_OK(shoal_mem_register(context, memory, BYTES));
    ASSERT_OK(shoal_mem_deregister(context, memory));
    ASSERT_STATUS(SHOAL_ERR_INVALID, shoal_mem_deregister(context, memory));
    ASSERT_OK(shoal_mem_alloc(context, BYTES, &allocated));
    ASSERT_OK(shoal_mem_register(context, allocated, BYTES)); /* it is, already */
    ASSERT_OK(shoal_mem_free(context, allocated));
    shoal_context_destroy(context);
    munmap(memory, BYTES);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_is_announced_once)};
    return cmocka_run_group_tests_name("api_memory", tests, NULL, NULL);
}
