/* The least that this machine needs for a block step, one thread, no library:
 * append 3 frames, find the 6 nearest of a span by cosine in fp32, copy their payloads into a staging buffer.
 *
 *   floor CLASS STORE INPUTS FRAMES
 *
 * CLASS says what an appended block survives: mem = nothing (an array), file = the process (pwritev to STORE),
 * sync = a loss of power (and fdatasync). STORE has room for FRAMES frames, written once beforehand, so that no
 * step pays for blocks of the disk. Embeddings are also kept as one matrix in memory; norms are taken on append.
 *
 * Commands on standard input: "load N" appends N blocks that lie in INPUTS, "run N" does N whole steps and answers
 * one line per step: nanoseconds, those of CPU, and the 6 frames. An input is a block's first frame and the span, 3 x int64,
 * then the query and the block's 3 embeddings in float32, then its 3 payloads.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { DIM = 1024, PAYLOAD = 199680, BLOCK = 3, K = 6, FRAME = DIM * 4 + PAYLOAD };

typedef struct {
    int64_t first, start, stop;
    float query[DIM];
    float embeddings[BLOCK][DIM];
    uint8_t payloads[BLOCK][PAYLOAD];
} Input;

static int in_memory, durable, store = -1;
static uint8_t *frames, *staging;
static float *rows, *inverse_norms;

static void check(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

/* Huge pages where there are any: with small ones a step waits for the TLB. */
static void *room(size_t bytes) {
    size_t huge = 2 << 20;
    void *memory = aligned_alloc(huge, (bytes + huge - 1) / huge * huge);
    check(memory != NULL, "malloc");
    madvise(memory, bytes, MADV_HUGEPAGE);
    memset(memory, 0, bytes);
    return memory;
}

static float dot(const float *a, const float *b) {
    float sum = 0;
    for (int i = 0; i < DIM; i++) sum += a[i] * b[i];
    return sum;
}

/* Four rows at a time: one alone would wait for its own additions. */
static void dots(const float *row, const float *query, float *out) {
    float a = 0, b = 0, c = 0, d = 0;
    for (int i = 0; i < DIM; i++) {
        a += row[i] * query[i];
        b += row[i + DIM] * query[i];
        c += row[i + 2 * DIM] * query[i];
        d += row[i + 3 * DIM] * query[i];
    }
    out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

static void append(const Input *in) {
    struct iovec pieces[2 * BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        int64_t frame = in->first + i;
        memcpy(rows + frame * DIM, in->embeddings[i], DIM * 4);
        inverse_norms[frame] = 1 / sqrtf(dot(in->embeddings[i], in->embeddings[i]));
        if (in_memory) memcpy(frames + frame * FRAME + DIM * 4, in->payloads[i], PAYLOAD);
        pieces[2 * i] = (struct iovec){(void *)in->embeddings[i], DIM * 4};
        pieces[2 * i + 1] = (struct iovec){(void *)in->payloads[i], PAYLOAD};
    }
    if (in_memory) return;
    check(pwritev(store, pieces, 2 * BLOCK, in->first * FRAME) == (ssize_t)BLOCK * FRAME, "pwritev");
    if (durable) check(fdatasync(store) == 0, "fdatasync");
}

static void search(const Input *in, int64_t *best) {
    float scores[K], four[4];
    for (int i = 0; i < K; i++) scores[i] = -1e9f, best[i] = -1;
    for (int64_t frame = in->start; frame < in->stop; frame++) {
        int at_of_four = (frame - in->start) % 4;
        if (at_of_four == 0) dots(rows + frame * DIM, in->query, four);
        float score = four[at_of_four] * inverse_norms[frame];
        if (score <= scores[K - 1]) continue;
        int at = K - 1;
        for (; at > 0 && scores[at - 1] < score; at--) scores[at] = scores[at - 1], best[at] = best[at - 1];
        scores[at] = score, best[at] = frame;
    }
}

static void fetch(const int64_t *best) {
    for (int i = 0; i < K; i++) memcpy(staging + (size_t)i * PAYLOAD, frames + best[i] * FRAME + DIM * 4, PAYLOAD);
}

static int64_t now_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
    check(argc == 5, "usage: floor mem|file|sync STORE INPUTS FRAMES");
    size_t capacity = strtoull(argv[4], NULL, 10), bytes = capacity * FRAME;
    in_memory = !strcmp(argv[1], "mem"), durable = !strcmp(argv[1], "sync");
    rows = room((capacity + 4) * DIM * 4), inverse_norms = room(capacity * 4), staging = room(K * PAYLOAD);
    if (in_memory) {
        frames = room(bytes);
    } else {
        store = open(argv[2], O_RDWR | O_CREAT | O_EXCL, 0644);
        check(store >= 0, argv[2]);
        uint8_t *zeros = calloc(1, FRAME);
        for (size_t i = 0; i < capacity; i++) check(write(store, zeros, FRAME) == FRAME, "write");
        check(fdatasync(store) == 0, "fdatasync");
        frames = mmap(NULL, bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, store, 0);
        check(frames != MAP_FAILED, "mmap");
    }
    int inputs = open(argv[3], O_RDONLY);
    check(inputs >= 0, argv[3]);
    char command[16];
    long count;
    while (scanf("%15s %ld", command, &count) == 2) {
        size_t size = count * sizeof(Input), there = 0;
        Input *in = room(size);
        while (there < size) {
            ssize_t got = pread(inputs, (char *)in + there, size - there, there);
            check(got > 0, "read of the inputs");
            there += got;
        }
        for (long i = 0; i < count; i++) {
            if (!strcmp(command, "load")) {
                append(in + i);
                continue;
            }
            int64_t best[K], cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID), began = now_ns(CLOCK_MONOTONIC);
            append(in + i);
            search(in + i, best);
            fetch(best);
            int64_t took = now_ns(CLOCK_MONOTONIC) - began;
            printf("%lld %lld", (long long)took, (long long)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu));
            for (int j = 0; j < K; j++) {
                int64_t written;
                memcpy(&written, staging + (size_t)j * PAYLOAD, 8);
                check(written == best[j], "the payload is another frame's");
                printf(" %lld", (long long)best[j]);
            }
            printf("\n");
        }
        free(in);
        printf("done\n");
        fflush(stdout);
    }
    return 0;
}
