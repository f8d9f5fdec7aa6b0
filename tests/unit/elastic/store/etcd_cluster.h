/*
 * Real etcd servers for a test: one, or a cluster of three, on loopback.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STORE_ETCD_CLUSTER_H
#define STORE_ETCD_CLUSTER_H

#include "support/temp.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define ETCD_MEMBERS 3

struct etcd_member {
    pid_t pid; /* 0: does not run */
    uint16_t client_port, peer_port;
    char url[64]; /* for clients */
};

struct etcd_cluster {
    struct shl_test_temp temp;
    uint32_t count;
    bool tls; /* with ca.pem, cert.pem and key.pem in the folder; clients must show them too */
    struct etcd_member members[ETCD_MEMBERS];
    char address[256]; /* "etcd://..." */
};

bool etcd_is_installed(void);
/* Fails the test when they do not serve within a minute. */
void etcd_cluster_start(struct etcd_cluster *cluster, uint32_t count, bool tls);
void etcd_cluster_stop(struct etcd_cluster *cluster);

void etcd_member_kill(struct etcd_cluster *cluster, uint32_t member);
void etcd_member_start(struct etcd_cluster *cluster, uint32_t member); /* with what it knew */
/* Returns once it stands still; SIGCONT lets it go on. */
void etcd_member_stop(struct etcd_cluster *cluster, uint32_t member);
uint32_t etcd_leader(struct etcd_cluster *cluster);

/* POST, as an administrator would; fails the test unless the status is 200. */
void etcd_post(struct etcd_cluster *cluster, const char *path, const char *body);

#endif
