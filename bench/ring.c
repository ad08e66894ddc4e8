/* The yardstick of bench/ring.py: the ring of engine/ring.py by hand, on the same bytes.
 *
 * Maps the segments that Python made, checks their header, and takes one command a line on
 * standard input; every command answers with one line of integers. The commands, their arguments
 * and their answers are those of the jitted role in bench/ring.py, so that either side of a trial
 * may be C or jitted.
 *
 *     cc -O3 -march=native -o ring ring.c -lrt && ./ring <cpu> <control segment> <segment>...
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { VERSION = 1, KIND, RECORD_BYTES, CAPACITY, DATA_OFFSET };
enum { CURSOR = 32 };
enum { STRIDE = 8, SPINS_PER_LOOK = 1 << 20, RINGS_MAX = 8, HEADER_VERSION = 1 };
static const int64_t MAGIC = 0x464e494544415254;
static const int64_t TIMEOUT_NS = 5000000000;

typedef struct {
    int64_t *cells, *words, capacity;
} Ring;

static Ring control, rings[RINGS_MAX];

static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static inline int64_t load_acquire(const int64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void store_release(int64_t *p, int64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

static void die(const char *what, const char *name) {
    fprintf(stderr, "ring: %s: %s\n", name, what);
    exit(1);
}

static Ring map_ring(const char *name) {
    struct stat stat;
    int descriptor = shm_open(name, O_RDWR, 0);
    if (descriptor < 0 || fstat(descriptor, &stat) < 0) die("cannot open", name);
    char *base = mmap(NULL, stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                      descriptor, 0);
    if (base == MAP_FAILED) die("cannot map", name);
    Ring ring = {(int64_t *)base, NULL, 0};
    if (ring.cells[0] != MAGIC || ring.cells[VERSION] != HEADER_VERSION) die("not a segment", name);
    if (ring.cells[RECORD_BYTES] != STRIDE * 8 && ring.cells[RECORD_BYTES] != 0)
        die("not 64-byte records", name);
    ring.words = (int64_t *)(base + ring.cells[DATA_OFFSET]);
    ring.capacity = ring.cells[CAPACITY];
    return ring;
}

/* Both sides of a trial start within a core-to-core round trip; 0 if the other one did not come.
 * Generation 0 is a run without a partner. */
static int meet(int64_t generation, int64_t me) {
    if (generation == 0) return 1;
    int64_t *mine = control.words + me * 16, *other = control.words + (1 - me) * 16;
    int64_t deadline = now_ns() + TIMEOUT_NS;
    store_release(mine, generation);
    while (load_acquire(other) != generation)
        if (now_ns() > deadline) return 0;
    return 1;
}

static inline int64_t *begin(Ring *ring, int64_t sequence) {
    int64_t *slot = ring->words + (sequence & (ring->capacity - 1)) * STRIDE;
    store_release(slot, -sequence);
    atomic_thread_fence(memory_order_release);
    return slot;
}

static inline int64_t available(Ring *ring, int64_t sequence, int64_t limit) {
    int64_t index = sequence & (ring->capacity - 1), room = ring->capacity - index;
    const int64_t *slot = ring->words + index * STRIDE;
    int64_t found = load_acquire(slot), most = limit < room ? limit : room, count = 1;
    if (found != sequence) return found > sequence || -found > sequence ? -1 : 0;
    while (count < most && load_acquire(slot + count * STRIDE) == sequence + count) count++;
    return count;
}

static inline int intact(Ring *ring, int64_t sequence) {
    atomic_thread_fence(memory_order_acquire);
    return load_acquire(ring->words + (sequence & (ring->capacity - 1)) * STRIDE) == sequence;
}

static inline int64_t differing(Ring *ring, int64_t position, int64_t count) {
    int64_t bad = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t *slot = ring->words + ((position + i) & (ring->capacity - 1)) * STRIDE;
        int64_t wrong = 0;
        for (int word = 1; word < STRIDE; word++) wrong |= slot[word] ^ (position + i);
        bad += wrong != 0;
    }
    return bad;
}

/* write generation ring records: one record at a time, every word its sequence. */
static void command_write(int64_t *arg) {
    Ring *ring = &rings[arg[1]];
    int64_t sequence = load_acquire(ring->cells + CURSOR), last = sequence + arg[2];
    if (!meet(arg[0], 0)) { puts("0 0"); return; }
    int64_t start = now_ns();
    while (sequence < last) {
        int64_t *slot = begin(ring, ++sequence);
        for (int word = 1; word < STRIDE; word++) slot[word] = sequence;
        store_release(slot, sequence);
    }
    store_release(ring->cells + CURSOR, sequence);
    printf("%ld %ld\n", start, now_ns());
}

/* batch generation ring records size: from a source array, the cursor once a batch. */
static void command_batch(int64_t *arg) {
    static int64_t source[4096 * STRIDE];
    Ring *ring = &rings[arg[1]];
    int64_t sequence = load_acquire(ring->cells + CURSOR), last = sequence + arg[2], size = arg[3];
    if (!meet(arg[0], 0)) { puts("0 0"); return; }
    int64_t start = now_ns();
    while (sequence < last) {
        for (int64_t i = 0; i < size; i++) {
            int64_t *slot = begin(ring, ++sequence);
            for (int word = 1; word < STRIDE; word++) slot[word] = source[i * STRIDE + word];
            store_release(slot, sequence);
        }
        store_release(ring->cells + CURSOR, sequence);
    }
    printf("%ld %ld\n", start, now_ns());
}

/* read generation ring records limit check: start, delivered, lost, torn, end.
 * Alone it reads the newest records that are there. */
static void command_read(int64_t *arg) {
    Ring *ring = &rings[arg[1]];
    int64_t position = load_acquire(ring->cells + CURSOR) + 1 - (arg[0] ? 0 : arg[2]);
    int64_t last = position + arg[2] - 1;
    int64_t delivered = 0, lost = 0, torn = 0, idle = 0, deadline = now_ns() + TIMEOUT_NS;
    if (!meet(arg[0], 1)) { puts("0 0 0 0 0"); return; }
    int64_t start = now_ns();
    while (position <= last) {
        int64_t count = available(ring, position, arg[3]);
        if (count == 0) {
            if (++idle % SPINS_PER_LOOK == 0 && now_ns() > deadline) break;
            continue;
        }
        if (count > 0) {
            int64_t bad = arg[4] ? differing(ring, position, count) : 0;
            if (intact(ring, position)) {
                torn += bad, delivered += count, position += count;
                continue;
            }
        }
        int64_t newest = load_acquire(ring->cells + CURSOR);
        int64_t found = load_acquire(ring->words + (position & (ring->capacity - 1)) * STRIDE);
        found = found < 0 ? -found : found;
        newest = newest > found ? newest : found;
        int64_t target = newest - ring->capacity / 2 + 1;
        if (target <= position) target = position + 1;
        lost += target - position, position = target;
    }
    printf("%ld %ld %ld %ld %ld\n", start, delivered, lost, torn, now_ns());
}

/* The gate: a reader's position stands in the CURSOR cell of ring `arg[3]`. */
static void command_flow_write(int64_t *arg) {
    Ring *ring = &rings[arg[1]];
    int64_t *gate = rings[arg[3]].cells + CURSOR, deadline = now_ns() + TIMEOUT_NS;
    int64_t sequence = load_acquire(ring->cells + CURSOR), last = sequence + arg[2];
    int64_t room = load_acquire(gate) + ring->capacity, idle = 0;
    if (!meet(arg[0], 0)) { puts("0 0"); return; }
    int64_t start = now_ns();
    while (sequence < last) {
        if (sequence == room) {
            room = load_acquire(gate) + ring->capacity;
            if (++idle % SPINS_PER_LOOK == 0 && now_ns() > deadline) break;
            continue;
        }
        int64_t *slot = begin(ring, ++sequence);
        for (int word = 1; word < STRIDE; word++) slot[word] = sequence;
        store_release(slot, sequence);
    }
    store_release(ring->cells + CURSOR, sequence);
    printf("%ld %ld\n", start, now_ns());
}

static void command_flow_read(int64_t *arg) {
    Ring *ring = &rings[arg[1]];
    int64_t *gate = rings[arg[3]].cells + CURSOR, deadline = now_ns() + TIMEOUT_NS;
    int64_t position = load_acquire(gate) + 1, last = position + arg[2] - 1, torn = 0, idle = 0;
    if (!meet(arg[0], 1)) { puts("0 0 0 0 0"); return; }
    int64_t start = now_ns();
    while (position <= last) {
        int64_t count = available(ring, position, arg[4]);
        if (count <= 0) {
            if (++idle % SPINS_PER_LOOK == 0 && now_ns() > deadline) break;
            continue;
        }
        torn += differing(ring, position, count);
        position += count;
        store_release(gate, position - 1);
    }
    printf("%ld %ld 0 %ld %ld\n", start, arg[2], torn, now_ns());
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print_percentiles(int64_t *times, int64_t rounds) {
    for (int64_t i = rounds; i > 0; i--) times[i] -= times[i - 1];
    qsort(times + 1, rounds, sizeof *times, ascending);
    printf("%ld %ld %ld\n", times[1 + rounds / 2], times[1 + rounds * 99 / 100],
           times[1 + rounds * 999 / 1000]);
}

/* ping generation out in rounds: p50, p99 and p99.9 of a round trip through two rings, ns. */
static void command_ping(int64_t *arg) {
    static int64_t times[1 << 18];
    Ring *out = &rings[arg[1]], *in = &rings[arg[2]];
    int64_t sent = load_acquire(out->cells + CURSOR), seen = load_acquire(in->cells + CURSOR);
    int64_t rounds = arg[3];
    if (rounds >= 1 << 18 || !meet(arg[0], 0)) { puts("0 0 0"); return; }
    times[0] = now_ns();
    for (int64_t i = 1; i <= rounds; i++) {
        int64_t *slot = begin(out, ++sent), idle = 0;
        for (int word = 1; word < STRIDE; word++) slot[word] = sent;
        store_release(slot, sent);
        seen++;
        while (available(in, seen, 1) != 1)
            if (++idle % SPINS_PER_LOOK == 0 && now_ns() > times[0] + TIMEOUT_NS) {
                puts("0 0 0");
                return;
            }
        if (differing(in, seen, 1) || !intact(in, seen)) { puts("0 0 0"); return; }
        times[i] = now_ns();
    }
    store_release(out->cells + CURSOR, sent);
    print_percentiles(times, rounds);
}

/* pong generation in out rounds: answers every record. */
static void command_pong(int64_t *arg) {
    Ring *in = &rings[arg[1]], *out = &rings[arg[2]];
    int64_t sent = load_acquire(out->cells + CURSOR), seen = load_acquire(in->cells + CURSOR);
    int64_t deadline = now_ns() + TIMEOUT_NS, idle = 0, i = 0;
    if (!meet(arg[0], 1)) { puts("0"); return; }
    while (i < arg[3]) {
        if (available(in, seen + 1, 1) != 1) {
            if (++idle % SPINS_PER_LOOK == 0 && now_ns() > deadline) break;
            continue;
        }
        seen++;
        if (differing(in, seen, 1) || !intact(in, seen)) break;
        int64_t *slot = begin(out, ++sent);
        for (int word = 1; word < STRIDE; word++) slot[word] = sent;
        store_release(slot, sent);
        i++;
    }
    store_release(out->cells + CURSOR, sent);
    printf("%ld\n", i);
}

/* bare generation side rounds: the distance of the two cores, one word each way, mean ps. */
static void command_bare(int64_t *arg) {
    int64_t *mine = control.words + (arg[1] + 4) * 16, *other = control.words + (5 - arg[1]) * 16;
    int64_t base = arg[0] << 24, rounds = arg[2], start, idle = 0;
    if (!meet(arg[0], arg[1])) { puts("0"); return; }
    start = now_ns();
    for (int64_t i = 1; i <= rounds; i++) {
        if (arg[1] == 0) store_release(mine, base + i);
        while (load_acquire(other) != base + i)
            if (++idle % SPINS_PER_LOOK == 0 && now_ns() > start + TIMEOUT_NS) { puts("0"); return; }
        if (arg[1] == 1) store_release(mine, base + i);
    }
    printf("%ld\n", (now_ns() - start) * 1000 / rounds);
}

int main(int count, char **args) {
    char line[256], name[32];
    cpu_set_t cpus;
    if (count < 4) die("usage: ring <cpu> <control> <segment>...", args[0]);
    CPU_ZERO(&cpus);
    CPU_SET(atoi(args[1]), &cpus);
    sched_setaffinity(0, sizeof cpus, &cpus);
    control = map_ring(args[2]);
    for (int i = 3; i < count && i < 3 + RINGS_MAX; i++) rings[i - 3] = map_ring(args[i]);
    while (fgets(line, sizeof line, stdin)) {
        int64_t arg[5] = {0};
        sscanf(line, "%31s %ld %ld %ld %ld %ld", name, arg, arg + 1, arg + 2, arg + 3, arg + 4);
        if (!strcmp(name, "write")) command_write(arg);
        else if (!strcmp(name, "batch")) command_batch(arg);
        else if (!strcmp(name, "read")) command_read(arg);
        else if (!strcmp(name, "flow_write")) command_flow_write(arg);
        else if (!strcmp(name, "flow_read")) command_flow_read(arg);
        else if (!strcmp(name, "ping")) command_ping(arg);
        else if (!strcmp(name, "pong")) command_pong(arg);
        else if (!strcmp(name, "bare")) command_bare(arg);
        else die("unknown command", name);
        fflush(stdout);
    }
    return 0;
}
