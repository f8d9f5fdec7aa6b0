/*
 * A peer that sums 1 KiB by PCCL for ever, and says when it comes to a right sum again after
 * another one was killed. Rank 0 starts the master, as a process of its own.
 *
 *     pccl_kill RANK SIZE PORT
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <pccl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define COUNT 256

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void need(pcclResult_t status, const char *what)
{
    if (status == pcclSuccess)
        return;
    printf("error %.6f %s: %d\n", now_s(), what, (int)status);
    fflush(stdout);
    _exit(1);
}

static void run_master(ccoip_socket_address_t at)
{
    pcclMasterInstance_t *master;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    need(pcclCreateMaster(at, &master), "master");
    need(pcclRunMaster(master), "master");
    need(pcclMasterAwaitTermination(master), "master");
}

static pcclResult_t connect_to(const ccoip_socket_address_t at, pcclComm_t **comm)
{
    pcclCommCreateParams_t params = {.master_address = at, .p2p_connection_pool_size = 1};
    pcclResult_t status = pcclMasterConnectionFailed;
    for (int tries = 0; status == pcclMasterConnectionFailed && tries < 100; tries++) {
        usleep(50000); /* the master may not listen yet */
        need(pcclCreateCommunicator(&params, comm), "communicator");
        status = pcclConnect(*comm);
    }
    return status;
}

/* As PCCL's own examples do: whoever waits is let in, then all reduce. */
static int reduce_forever(pcclComm_t *comm, int rank, int size)
{
    const pcclReduceDescriptor_t sum = {
        .count = COUNT,
        .op = pcclSum,
        .src_descriptor = {.datatype = pcclFloat},
        .quantization_options = {.quantized_datatype = pcclFloat, .algorithm = pcclQuantNone}};
    float send[COUNT], recv[COUNT];
    int members = 1, failed = 0, told = 0, first = 1;
    for (int i = 0; i < COUNT; i++)
        send[i] = 1;
    for (;;) {
        if (!told && !first)
            need(pcclUpdateTopology(comm), "update of the topology");
        first = 0;
        need(pcclGetAttribute(comm, PCCL_ATTRIBUTE_GLOBAL_WORLD_SIZE, &members), "size");
        if (!told && members < size)
            continue;
        if (!told) {
            told = 1;
            printf("rank %d %d\n", rank, (int)getpid());
            fflush(stdout);
        }
        pcclReduceInfo_t info;
        pcclResult_t status = pcclAllReduce(send, recv, &sum, comm, &info);
        if (status != pcclSuccess)
            failed = (int)status;
        else if (recv[COUNT - 1] == (float)(size - 1))
            break;
    }
    printf("goes on %.6f status %d, then a right sum of the %d\n", now_s(), failed, size - 1);
    fflush(stdout);
    sleep(2); /* the others need it for theirs */
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return fprintf(stderr, "usage: pccl_kill RANK SIZE PORT\n"), 2;
    int rank = atoi(argv[1]), size = atoi(argv[2]);
    ccoip_socket_address_t at = {.inet = {.protocol = inetIPv4, .ipv4 = {{127, 0, 0, 1}}},
                                 .port = (uint16_t)atoi(argv[3])};
    pcclComm_t *comm;
    need(pcclInit(), "init");
    if (rank == 0 && fork() == 0) {
        run_master(at);
        _exit(0);
    }
    need(connect_to(at, &comm), "connect");
    _exit(reduce_forever(comm, rank, size));
}
