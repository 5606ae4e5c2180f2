/* flood GATE TOLD COUNT WIDTH   writes COUNT numbered lines of WIDTH bytes to stdout, one write(2) each
 * flood check COUNT WIDTH       reads such lines from stdin and prints how many stand there whole, in order, once
 *
 * A flood says "ready PID" in the FIFO TOLD and waits until somebody opens the FIFO GATE; at its end it says
 * "done BEGUN ENDED LONGEST", the clock and the longest single write in nanoseconds. Then it sleeps for good: what
 * keeps it running would start it again.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (long long)at.tv_sec * 1000000000 + at.tv_nsec;
}

static void number(char *line, long n)
{
    int digit;

    for (digit = 9; digit >= 0; digit--, n /= 10)
        line[digit] = '0' + n % 10;
}

static int check(long count, int width)
{
    char *line = malloc(width), *want = malloc(width);
    long n = 0;

    memset(want, 'x', width);
    want[width - 1] = '\n';
    for (;;) {
        number(want, n);
        if (fread(line, 1, width, stdin) != (size_t)width || memcmp(line, want, width) != 0)
            break;
        n++;
    }
    printf("%ld\n", n == count && getchar() == EOF && feof(stdin) ? n : n < count ? n : -1);
    return 0;
}

int main(int argc, char **argv)
{
    char word[128], *line;
    long long begun, before, after, longest = 0;
    long n, count;
    int told, gate, width, written, length;

    if (argc == 4 && strcmp(argv[1], "check") == 0)
        return check(atol(argv[2]), atoi(argv[3]));
    if (argc != 5)
        return 2;
    count = atol(argv[3]);
    width = atoi(argv[4]);
    line = malloc(width);
    memset(line, 'x', width);
    line[width - 1] = '\n';
    told = open(argv[2], O_WRONLY);
    length = snprintf(word, sizeof word, "ready %d\n", (int)getpid());
    if (told < 0 || write(told, word, length) != length || (gate = open(argv[1], O_RDONLY)) < 0)
        return 1;
    close(gate);
    begun = before = now();
    for (n = 0; n < count; n++) {
        number(line, n);
        for (written = 0; written < width; written += length)
            if ((length = write(1, line + written, width - written)) < 0)
                return 1;
        after = now();
        if (after - before > longest)
            longest = after - before;
        before = after;
    }
    length = snprintf(word, sizeof word, "done %lld %lld %lld\n", begun, before, longest);
    if (write(told, word, length) != length)
        return 1;
    for (;;)
        pause();
}
