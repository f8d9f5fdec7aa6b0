/*
 * oneCCL's allreduce of float32 sums on processors, timed as mpi_peer.c times MPI's: the same
 * warm-up, the same rule for the number of iterations, the same buffers every time. Built by
 * bench/compare where the packages oneccl and oneccl-devel are installed. Rank and size come from
 * RANK and WORLD_SIZE; rank 0 leaves the address of its store in the file ONECCL_PEER_STORE. Prints
 * "bytes,us" lines.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <oneapi/ccl.hpp>
#include <string>
#include <thread>
#include <vector>

static const double target_us = 200000;
static const int warmups = 5;

static double now_us()
{
    auto since = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double, std::micro>(since).count();
}

/* Rank 0 makes the store and publishes its address by renaming a whole file into place. */
static ccl::shared_ptr_class<ccl::kvs> meet(int rank, const std::string &path)
{
    ccl::kvs::address_type address;
    if (rank == 0) {
        auto store = ccl::create_main_kvs();
        address = store->get_address();
        std::ofstream(path + ".new", std::ios::binary).write(address.data(), address.size());
        std::rename((path + ".new").c_str(), path.c_str());
        return store;
    }
    for (;;) {
        std::ifstream in(path, std::ios::binary);
        if (in.read(address.data(), address.size()))
            return ccl::create_kvs(address);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

struct group {
    ccl::communicator comm;
    std::vector<float> input, output;

    double loop(size_t count, long iterations)
    {
        ccl::barrier(comm);
        double start = now_us();
        for (long i = 0; i < iterations; i++)
            ccl::allreduce(input.data(), output.data(), count, ccl::datatype::float32,
                           ccl::reduction::sum, comm)
                .wait();
        return (now_us() - start) / (double)iterations;
    }

    double combine(double value, ccl::reduction how)
    {
        double result = 0;
        ccl::allreduce(&value, &result, 1, ccl::datatype::float64, how, comm).wait();
        return result;
    }

    bool wrong(size_t count, float expected) const
    {
        for (size_t i = 0; i < count; i++)
            if (output[i] != expected)
                return true;
        return false;
    }
};

static int measure(size_t first, size_t last, size_t factor)
{
    int rank = std::atoi(std::getenv("RANK")), size = std::atoi(std::getenv("WORLD_SIZE"));
    bool failed = false;
    ccl::init();
    auto store = meet(rank, std::getenv("ONECCL_PEER_STORE"));
    group all{ccl::create_communicator(size, rank, store),
              std::vector<float>(last / sizeof(float), (float)(rank + 1)),
              std::vector<float>(last / sizeof(float))};
    for (size_t bytes = first; bytes <= last; bytes *= factor) {
        size_t count = bytes / sizeof(float);
        all.loop(count, warmups);
        double most = all.combine(all.loop(count, 3), ccl::reduction::max);
        double fit = target_us / std::max(most, 0.1);
        double us = all.loop(count, (long)std::min(std::max(fit, 5.0), 100000.0));
        double mean = all.combine(us, ccl::reduction::sum) / size;
        failed |= all.wrong(count, (float)(size * (size + 1)) / 2);
        if (rank == 0)
            std::printf("%zu,%.4f\n", bytes, mean);
        std::fflush(stdout);
    }
    return failed;
}

int main(int argc, char **argv)
{
    if (argc < 4 || !std::getenv("RANK") || !std::getenv("WORLD_SIZE") ||
        !std::getenv("ONECCL_PEER_STORE")) {
        std::fprintf(stderr, "usage: RANK= WORLD_SIZE= ONECCL_PEER_STORE= "
                             "oneccl_peer MIN_BYTES MAX_BYTES FACTOR\n");
        return 2;
    }
    return measure(std::stoull(argv[1]), std::stoull(argv[2]), std::stoull(argv[3]));
}
