/* A disk that takes SLOW_FSYNC_MS longer to say that data is safe: LD_PRELOAD this. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int slowly(const char *name, int fd) {
    const char *ms = getenv("SLOW_FSYNC_MS");
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (ms) usleep((useconds_t)atoi(ms) * 1000);
    return real(fd);
}

int fdatasync(int fd) { return slowly("fdatasync", fd); }
int fsync(int fd) { return slowly("fsync", fd); }
