/* beat FIFO NAME [deaf] [ready]: the child of all benches.
 *
 * Its first act is to read the clock; then it writes "NANOSECONDS PID NAME" into FIFO and sleeps for good.
 * deaf: it ignores SIGTERM. ready: it writes a line to fd 3, s6's word for "I am up".
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct timespec now;
    char line[256];
    int fifo, i, length;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (argc < 3)
        return 2;
    for (i = 3; i < argc; i++)
        if (strcmp(argv[i], "deaf") == 0)
            signal(SIGTERM, SIG_IGN);
    length = snprintf(line, sizeof line, "%lld %d %.100s\n",
                      (long long)now.tv_sec * 1000000000 + now.tv_nsec, (int)getpid(), argv[2]);
    fifo = open(argv[1], O_WRONLY);
    if (fifo < 0 || write(fifo, line, length) != length)
        return 1;
    close(fifo);
    for (i = 3; i < argc; i++)
        if (strcmp(argv[i], "ready") == 0 && write(3, "\n", 1) == 1)
            close(3);
    for (;;)
        pause();
}
