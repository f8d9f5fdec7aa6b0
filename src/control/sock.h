/*
 * The fault table of sockets, and the few things every socket of Shoal needs.
 *
 * Only control/, transport/tcp/, transport/verbs/ and elastic/ call it. Descriptors are
 * close-on-exec and non-blocking from birth, and are closed with shl_fd->close.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CONTROL_SOCK_H
#define SHL_CONTROL_SOCK_H

#include "core/status.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

struct shl_sys_sock {
    int (*socket)(int family, int type, int protocol);
    int (*bind)(int fd, const struct sockaddr *addr, socklen_t bytes);
    int (*listen)(int fd, int backlog);
    int (*accept4)(int fd, struct sockaddr *addr, socklen_t *bytes, int flags);
    int (*connect)(int fd, const struct sockaddr *addr, socklen_t bytes);
    ssize_t (*send)(int fd, const void *data, size_t bytes, int flags);
    ssize_t (*recv)(int fd, void *data, size_t bytes, int flags);
    ssize_t (*sendmsg)(int fd, const struct msghdr *message, int flags);
    ssize_t (*recvmsg)(int fd, struct msghdr *message, int flags);
    int (*getsockopt)(int fd, int level, int name, void *value, socklen_t *bytes);
    int (*setsockopt)(int fd, int level, int name, const void *value, socklen_t bytes);
    int (*getsockname)(int fd, struct sockaddr *addr, socklen_t *bytes);
    int (*getpeername)(int fd, struct sockaddr *addr, socklen_t *bytes);
    int (*shutdown)(int fd, int how);
    int (*poll)(struct pollfd *fds, nfds_t count, int timeout_ms);
    int (*getaddrinfo)(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **found);
    void (*freeaddrinfo)(struct addrinfo *found);
    int (*getifaddrs)(struct ifaddrs **found);
    void (*freeifaddrs)(struct ifaddrs *found);
};

/* Replaced only by tests, before any thread runs. */
extern const struct shl_sys_sock *shl_sock;
extern const struct shl_sys_sock shl_sock_kernel;

/* Room for any text that shl_sockaddr_format writes and any "host:port" that Shoal accepts. */
#define SHL_SOCK_TEXT_BYTES 264

/* An address of any family we use. `bytes` is the length that the kernel wants. */
struct shl_sockaddr {
    socklen_t bytes;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
    };
};

/*
 * shl_sock_split - "host:port", "[v6]:port" or "*:port" into its parts; the host loses its
 * brackets. A text without a port is SHOAL_ERR_INVALID, unless default_port is not negative.
 */
enum shoal_status shl_sock_split(const char *text, int default_port, char *host, size_t capacity,
                                 uint16_t *port);

/* shl_sockaddr_parse - numeric IPv4 or IPv6 host (a scope such as %eth0 is legal); false: a name.
 */
bool shl_sockaddr_parse(const char *host, uint16_t port, struct shl_sockaddr *addr);
/* shl_sockaddr_unix - an abstract Unix name, given without its leading zero. */
enum shoal_status shl_sockaddr_unix(const char *name, struct shl_sockaddr *addr);
/* shl_sockaddr_format - "1.2.3.4:5", "[::1]:5" or "@name"; always ends with zero. */
void shl_sockaddr_format(const struct shl_sockaddr *addr, char *text, size_t capacity);
bool shl_sockaddr_is_loopback(const struct shl_sockaddr *addr);
uint16_t shl_sockaddr_port(const struct shl_sockaddr *addr);

/* shl_sock_listen - open, bind and listen; *bound receives the real address (port 0: any). errno
 * tells EADDRINUSE and EADDRNOTAVAIL apart after a failure. */
enum shoal_status shl_sock_listen(const struct shl_sockaddr *addr, int backlog, int *fd,
                                  struct shl_sockaddr *bound);
/* shl_sock_connect - start to connect; the descriptor becomes writable when it is decided, then
 * ask shl_sock_error. A failure leaves nothing open and sets errno. */
enum shoal_status shl_sock_connect(const struct shl_sockaddr *addr, int *fd);
/* The pending error of a socket: 0 or an errno. */
int shl_sock_error(int fd);

/* shl_sock_tune - no delay, no keepalive, and unacknowledged data breaks the connection after
 * user_timeout_ms (0: the kernel's default). Does nothing on a Unix socket. Best effort. */
void shl_sock_tune(int fd, uint32_t user_timeout_ms);

/* shl_sock_keep_pace - for a connection that carries little, as signs of life: while few packets
 * are under way the kernel repeats them at a steady pace, six times some 200 ms apart, and not ever
 * more seldom, so a cable that is back is noticed at once. Under BBR the kernel never does (it
 * takes the connection to be in its first slow start for ever), so it becomes Reno; another
 * algorithm stays, since the connection may also have to carry much. Best effort. */
void shl_sock_keep_pace(int fd);

/* shl_sock_lags - packets are under way that the peer has not confirmed. These are sign of life
 * enough, and more of them would end the steady pace. Always false on a Unix socket. */
bool shl_sock_lags(int fd);

/* shl_sock_stalls - packets had to be repeated and are not confirmed yet: the peer's host cannot
 * be heard, or does not hear this one. A peer that merely does not read is confirmed for by its
 * kernel. Always false on a Unix socket. */
bool shl_sock_stalls(int fd);

/* The process at the other end of a Unix socket, as this process sees it; 0: not known. */
pid_t shl_sock_peer_pid(int fd);
/* starved.c: it is on this host and wants to run, but gets no CPU. */
bool shl_sock_peer_is_starved(int fd);

/* Move exactly `bytes` over a non-blocking socket, waiting until the deadline. SHOAL_ERR_TIMEOUT
 * at the deadline, SHOAL_ERR_PEER when the other side closed. */
enum shoal_status shl_sock_send_all(int fd, const void *data, size_t bytes, uint64_t deadline_ns);
enum shoal_status shl_sock_recv_all(int fd, void *data, size_t bytes, uint64_t deadline_ns);
/* shl_sock_wait - until `events` (POLLIN, POLLOUT), an error or the deadline. */
enum shoal_status shl_sock_wait(int fd, short events, uint64_t deadline_ns);

/* shl_sock_raise_limit - raise the soft limit of open files to the hard one. */
void shl_sock_raise_limit(void);
/* shl_sock_check_limit - SHOAL_ERR_SYSTEM when fewer than `need` descriptors are allowed; the text
 * states need, limit and remedy. */
enum shoal_status shl_sock_check_limit(uint64_t need, const char *purpose);

#endif
