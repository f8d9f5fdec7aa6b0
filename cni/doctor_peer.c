/*
 * The way to a peer: name, route, interface, packet size; and a connection where a port is given.
 *
 * Invariant: every wait has a deadline.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "doctor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_MS 3000
#define NAMES_MAX 256
#define PACKET_MAX 65535 /* of IP, whatever loopback says */

static bool same_address(const struct sockaddr *one, const struct sockaddr *two)
{
    if (!one || one->sa_family != two->sa_family)
        return false;
    if (one->sa_family == AF_INET)
        return memcmp(&((const struct sockaddr_in *)one)->sin_addr,
                      &((const struct sockaddr_in *)two)->sin_addr, 4) == 0;
    return one->sa_family == AF_INET6 &&
           memcmp(&((const struct sockaddr_in6 *)one)->sin6_addr,
                  &((const struct sockaddr_in6 *)two)->sin6_addr, 16) == 0;
}

/* The interface that has an address; "" when none has. */
static const char *interface_with(struct cni_doctor *doctor, const struct sockaddr *address)
{
    struct ifaddrs *list;
    const char *name = "";
    if (getifaddrs(&list) != 0)
        return name;
    for (struct ifaddrs *at = list; at; at = at->ifa_next)
        if (same_address(at->ifa_addr, address))
            name = cni_arena_copy(doctor->arena, at->ifa_name, strlen(at->ifa_name));
    freeifaddrs(list);
    return name;
}

/* Whether some RDMA device, or one that lies below, carries an interface. */
static bool carries_rdma(const struct cni_doctor *doctor, const char *interface)
{
    const json_t *device, *port, *gid, *name;
    size_t i, j, k;
    json_array_foreach(json_object_get(doctor->inventory, "rdma"), i, device)
    {
        json_array_foreach(json_object_get(device, "netdevs"), j, name)
        {
            if (strcmp(json_string_value(name), interface) == 0)
                return true;
        }
        json_array_foreach(json_object_get(device, "ports"), j, port)
        {
            json_array_foreach(json_object_get(port, "gids"), k, gid)
            {
                const char *of = json_string_value(json_object_get(gid, "netdev"));
                if (of && strcmp(of, interface) == 0)
                    return true;
            }
        }
    }
    return false;
}

static int64_t mtu_of(const struct cni_doctor *doctor, const char *interface)
{
    const json_t *netdev;
    size_t index;
    json_array_foreach(json_object_get(doctor->inventory, "netdevs"), index, netdev)
    {
        const char *name = json_string_value(json_object_get(netdev, "name"));
        if (strcmp(name, interface) == 0)
            return json_integer_value(json_object_get(netdev, "mtu"));
    }
    return 0;
}

/* A socket that knows the route; nothing is sent. */
static void check_route(struct cni_doctor *doctor, const struct addrinfo *peer, const char *shown)
{
    struct sockaddr_storage own = {.ss_family = AF_UNSPEC};
    socklen_t bytes = sizeof(own);
    int mtu = 0;
    socklen_t mtu_bytes = sizeof(mtu);
    bool v6 = peer->ai_family == AF_INET6;
    int fd = socket(peer->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, peer->ai_addr, peer->ai_addrlen) != 0 ||
        getsockname(fd, (struct sockaddr *)&own, &bytes) != 0) {
        cni_doctor_bad(doctor, CNI_CHECK_peer, CNI_ERROR, "no route to %s: %s", shown,
                       strerror(errno));
        if (fd >= 0)
            close(fd);
        return;
    }
    const char *interface = interface_with(doctor, (const struct sockaddr *)&own);
    if (carries_rdma(doctor, interface))
        cni_doctor_good(doctor, CNI_CHECK_peer, "%s over %s, which has an RDMA device", shown,
                        interface);
    else
        cni_doctor_bad(doctor, CNI_CHECK_peer, CNI_WARNING,
                       "%s over %s, which has no RDMA device here", shown, interface);
    int64_t link = mtu_of(doctor, interface);
    link = link > PACKET_MAX ? PACKET_MAX : link;
    if (getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &mtu_bytes) ==
            0 &&
        link > 0 && mtu < link)
        cni_doctor_bad(doctor, CNI_CHECK_peer_mtu, CNI_WARNING,
                       "%d to %s, the interface %s has %lld", mtu, shown, interface,
                       (long long)link);
    else if (mtu > 0)
        cni_doctor_good(doctor, CNI_CHECK_peer_mtu, "%d, as far as the kernel knows", mtu);
    close(fd);
}

static void check_connection(struct cni_doctor *doctor, const struct addrinfo *peer,
                             const char *shown)
{
    int error = 0;
    socklen_t bytes = sizeof(error);
    int fd = socket(peer->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (fd < 0)
        return;
    if (connect(fd, peer->ai_addr, peer->ai_addrlen) != 0)
        error = errno;
    if (error == EINPROGRESS) {
        error = poll(&ready, 1, CONNECT_MS) == 1 ? 0 : ETIMEDOUT;
        if (!error)
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes);
    }
    close(fd);
    if (error)
        cni_doctor_bad(doctor, CNI_CHECK_peer_connect, CNI_ERROR, "no connection to %s: %s", shown,
                       strerror(error));
    else
        cni_doctor_good(doctor, CNI_CHECK_peer_connect, "%s accepts a connection", shown);
}

void cni_doctor_peer(struct cni_doctor *doctor, const char *peer)
{
    char host[NAMES_MAX];
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    const char *colon = strrchr(peer, ':');
    bool port = colon && strchr(peer, ':') == colon; /* several: an IPv6 address */
    snprintf(host, sizeof(host), "%.*s", (int)(port ? colon - peer : (long)strlen(peer)), peer);
    int problem = getaddrinfo(host, port ? colon + 1 : "9", &hints, &list);
    if (problem) {
        cni_doctor_bad(doctor, CNI_CHECK_peer, CNI_ERROR, "%s: %s", host, gai_strerror(problem));
        return;
    }
    check_route(doctor, list, peer);
    if (port)
        check_connection(doctor, list, peer);
    freeaddrinfo(list);
}
