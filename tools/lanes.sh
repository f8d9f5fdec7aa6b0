#!/usr/bin/env bash
# One lane of tools/test.sh: install what it needs, build, run its tests, leave JUnit files behind.
# Any failure ends the lane with a status that is not zero.
#
# Usage: lanes.sh LANE RESULTS_FOLDER
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/lib.sh
. tools/lib.sh
lane=$1 results=$2
nightly=${TEST_NIGHTLY:-0}
jobs=$(nproc)
steady=()

build() { # preset [cmake argument...]
    local preset=$1
    shift
    cmake --preset "$preset" "$@"
    cmake --build --preset "$preset" --parallel "$jobs"
}

run() { # preset [ctest argument...]
    local preset=$1
    shift
    "${steady[@]}" ctest --test-dir "build-$preset" --output-junit "$results/$preset.xml" \
        --output-on-failure --test-output-size-passed 65536 --parallel "$jobs" \
        --no-tests=error "$@" || again "$preset" "${steady[@]}" ctest --test-dir "build-$preset" \
        --output-on-failure --output-junit "$results/again/$preset.xml"
}

# Tests of real processes, threads and sockets depend on what else the machine does. Those that
# failed run once more, one at a time, by COMMAND; the report names each that passes then as
# unsteady.
again() { # name-of-junit-file COMMAND...
    local name=$1 regex
    shift
    mkdir -p "$results/again"
    regex=$(python3 tools/junit_sum.py --again "$results/$name.xml")
    [ -z "$regex" ] || "$@" --tests-regex "$regex" --no-tests=error || true
    find "$results" -name "$name.xml" -exec python3 tools/junit_sum.py {} +
}

# Addresses vary too much for the sanitizers' shadow memory on some kernels.
hold_addresses() {
    if setarch --addr-no-randomize true; then steady=(setarch --addr-no-randomize); fi
}

lane_checks() {
    need_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}" "${CHECK_PACKAGES[@]}"
    cmake --preset dev
    cmake --build --preset dev --parallel "$jobs" --target shoal
    run dev --label-regex check
}

lane_gcc() {
    need_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}" "${NETWORK_PACKAGES[@]}" \
        "${ETCD_PACKAGES[@]}"
    build dev
    run dev --label-exclude 'check|python|rdma|valgrind'
    [ "$nightly" = 0 ] || SHOAL_SIM_SCHEDULES=1000000 SHOAL_SIM_FIRST=1000000 \
        build-dev/tests/sim/membership_sim_test
}

lane_clang() {
    need_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}" "${CLANG_PACKAGES[@]}"
    build clang
    run clang --label-exclude 'check|python|rdma|slow|valgrind'
}

sanitizer_lane() { # preset [ctest argument...]
    need_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}" "${NETWORK_PACKAGES[@]}"
    hold_addresses
    build "$1"
    run "$@" --label-exclude 'check|python|rdma|slow|valgrind'
}

# Both in one build: neither hides what the other finds, and one run is saved.
lane_asan_ubsan() {
    sanitizer_lane asan-ubsan
}

# At night without AddressSanitizer, whose allocator and memory layout differ.
lane_ubsan() {
    sanitizer_lane ubsan
}

lane_tsan() {
    # Left out is what has no second thread, so no races to find here, and would take long:
    # kernels, schedules, the simulator, explored orders, TCP's ranks in one thread (tcp_thread_test
    # has several), shoal-cni, and shared memory between processes, which is not seen.
    # One program moves gigabytes between starved ranks, which then take each other for dead;
    # bad_days_test has smaller counts under this sanitizer, which it prints.
    local alone='_sim_|^membership_explore|^device_|^collectives_|^placement_|^shm_|^cni_'
    alone+='|^tcp_(fault|hostile|kill|link|pressure|stall|storm|wire)_|^sweep_|^fault_step'
    alone+='|^conformance_(sim|hook|shm|tcp)_test|^api_test'
    sanitizer_lane tsan --exclude-regex "$alone"
}

lane_aarch64() {
    need_packages "${BUILD_PACKAGES[@]}" "${CROSS_PACKAGES[@]}"
    tools/sysroot.sh build-aarch64-sysroot
    ARM64_SYSROOT=$PWD/build-aarch64-sysroot build aarch64
    # The emulator keeps a record of every page mapped, used or not: a heap as large as the
    # machine's memory would cost gigabytes a process. The heap obeys this limit (in KiB).
    ulimit -f $((1 << 20))
    run aarch64 --label-regex unit --label-exclude slow
}

lane_fuzz() {
    need_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}" "${CLANG_PACKAGES[@]}"
    local seconds=5
    [ "$nightly" = 0 ] || seconds=60
    hold_addresses
    build fuzz -DSHOAL_FUZZ_SECONDS=$seconds
    run fuzz --label-regex fuzz
}

lane_python() {
    need_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}" "${PYTHON_PACKAGES[@]}" \
        "${TORCH_PACKAGES[@]}" "${NETWORK_PACKAGES[@]}"
    cmake --preset release
    cmake --build --preset release --parallel "$jobs" --target shoal shoal_program
    run release --label-regex python
}

lane_valgrind() {
    need_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}" "${VALGRIND_PACKAGES[@]}"
    build dev
    run dev --label-regex valgrind
}

lane_rdma() {
    need_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}" "${RDMA_PACKAGES[@]}"
    build dev
    tests/rdma/guest/kernel.sh
    tests/rdma/run_tests.sh build-dev "$results" ||
        again rdma tests/rdma/run_tests.sh build-dev "$results/again" --parallel 1
}

lane_coverage() {
    need_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}" "${COVERAGE_PACKAGES[@]}"
    build coverage
    find build-coverage -name '*.gcda' -delete
    run coverage --label-exclude 'check|python|rdma|slow|valgrind'
    gcovr --root . --filter src/ --exclude-unreachable-branches --print-summary \
        --txt "$results/coverage.txt" build-coverage
}

"lane_${lane//-/_}"
