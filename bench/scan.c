/* Binance's public messages by hand in C: what the jitted scanner is measured against.
 *
 * Same bytes, same checks, same result (feeds/message.py): strings are validated (controls,
 * escapes, UTF-8), numbers follow JSON's grammar, keys come in any order and no known key twice,
 * decimals are exact. One pass; the levels are converted on the way; a value is kept as a pointer.
 * Build: cc -O3 -march=native -shared -fPIC scan.c
 */
#include <stdint.h>
#include <string.h>

typedef struct {
    int64_t kind, instrument, exchange_ns, first_id, last_id, previous_id, price, quantity;
    int64_t price_2, quantity_2, extra, next_ns, side, flags, mask, checksum;
    int64_t bid_start, bid_count, ask_start, ask_count;
} item;

typedef struct {
    uint64_t key[4];
    int64_t length, instrument, price_decimals, quantity_decimals;
} symbol;

enum { NOT_COVERED = -1, TRUNCATED = -2, SYNTAX = -3, UTF8 = -4, TYPE = -5, NUMBER = -6,
       INEXACT = -7, OVERFLOWED = -8, MISSING = -9, SYMBOL = -10, DEPTH = -11, SIZE = -12 };
enum { PU = 26, LAST_UPDATE_ID, BIDS, ASKS, STREAM, DATA };
#define CELL(c) ((c) - 65)
#define BIT(n) (1ull << (n))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define INT_MAX_64 9223372036854775807ull

typedef const uint8_t *text;

static const int64_t POWERS[19] = {
    1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000,
    100000000000, 1000000000000, 10000000000000, 100000000000000, 1000000000000000,
    10000000000000000, 100000000000000000, 1000000000000000000};

typedef struct {
    text at[64], end[64];
    uint64_t seen;
    const symbol *entry;
    int64_t start[2], count[2];
    int64_t used;
    int64_t fault;
} walk_t;

typedef struct {
    const symbol *symbols;
    int64_t entries;
    item *items;
    int64_t items_max;
    int64_t (*levels)[2];
    int64_t rows;
} out_t;

static inline uint64_t word(text p) { uint64_t w; memcpy(&w, p, 8); return w; }
static inline uint64_t nondigits(uint64_t w) {
    uint64_t x = w ^ 0x3030303030303030ull;
    return ((x + 0x7676767676767676ull) | x) & 0x8080808080808080ull;
}
static inline int64_t eight(uint64_t d) {
    d = (d * 2561 >> 8) & 0x00FF00FF00FF00FFull;
    d = (d * 6553601 >> 16) & 0x0000FFFF0000FFFFull;
    return (int64_t)(d * 42949672960001ull >> 32);
}
static inline int zeros(uint64_t m) { return m ? __builtin_ctzll(m) : 64; }
static inline text space(text p) {
    while (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t') p++;
    return p;
}
static inline text fail(walk_t *w, int64_t why) { w->fault = why; return 0; }
static inline text bad(walk_t *w, text p) { return fail(w, *p ? SYNTAX : TRUNCATED); }

static text escape(walk_t *w, text p) {
    static const char plain[] = "\"\\/bfnrt";
    if (p[1] && strchr(plain, p[1])) return p + 2;
    if (p[1] != 'u') return bad(w, p + 1);
    uint32_t unit[2] = {0, 0};
    for (int k = 0; k < 2; k++) {
        for (int i = 2; i < 6; i++) {
            uint8_t c = p[i];
            if (c >= '0' && c <= '9') unit[k] = unit[k] * 16 + c - '0';
            else if ((c | 32) >= 'a' && (c | 32) <= 'f') unit[k] = unit[k] * 16 + (c | 32) - 87;
            else return bad(w, p + i);
        }
        p += 6;
        if (k == 1) return unit[1] >= 0xDC00 && unit[1] <= 0xDFFF ? p : fail(w, UTF8);
        if (unit[0] < 0xD800 || unit[0] > 0xDFFF) return p;
        if (unit[0] > 0xDBFF || p[0] != '\\' || p[1] != 'u') return fail(w, UTF8);
    }
    return p;
}
static text longer(walk_t *w, text p) {
    uint8_t c = *p, low = 0x80, high = 0xBF;
    int more = c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
    if (c < 0xC2 || c > 0xF4) return fail(w, UTF8);
    if (c == 0xE0) low = 0xA0;
    if (c == 0xED) high = 0x9F;
    if (c == 0xF0) low = 0x90;
    if (c == 0xF4) high = 0x8F;
    if (p[1] < low || p[1] > high) return fail(w, UTF8);
    for (int i = 2; i <= more; i++) if ((p[i] & 0xC0) != 0x80) return fail(w, UTF8);
    return p + 1 + more;
}
static inline text string(walk_t *w, text p) {
    const uint64_t ones = 0x0101010101010101ull;
    for (;;) {
        uint64_t c = word(p), q = c ^ (ones * '"'), s = c ^ (ones * '\\');
        uint64_t m = (((q - ones) & ~q) | ((s - ones) & ~s) | ((c - ones * 32) & ~c) | c)
                     & (ones * 0x80);
        if (!m) { p += 8; continue; }
        p += __builtin_ctzll(m) >> 3;
        if (LIKELY(*p == '"')) return p;
        p = *p == '\\' ? escape(w, p) : *p >= 0x80 ? longer(w, p) : bad(w, p);
        if (!p) return 0;
    }
}
static inline text digits(text p) {
    for (;;) {
        uint64_t m = nondigits(word(p));
        if (m) return p + (__builtin_ctzll(m) >> 3);
        p += 8;
    }
}
static inline text number(walk_t *w, text p) {
    if (*p == '-') p++;
    text start = p;
    p = digits(p);
    if (p == start) return bad(w, p);
    if (*start == '0' && p - start > 1) return fail(w, SYNTAX);
    if (p - start > 64) return fail(w, NUMBER);
    if (LIKELY(*p != '.' && (*p | 32) != 'e')) return p;
    if (*p == '.') {
        start = ++p;
        p = digits(p);
        if (p == start) return bad(w, p);
        if (p - start > 64) return fail(w, NUMBER);
    }
    if ((*p | 32) == 'e') {
        p++;
        if (*p == '+' || *p == '-') p++;
        start = p;
        p = digits(p);
        if (p == start) return bad(w, p);
        if (p - start > 2) return fail(w, NUMBER);
    }
    return p;
}
static inline text scalar(walk_t *w, text p) {
    if (*p == '"') { p = string(w, p + 1); return p ? p + 1 : 0; }
    if ((*p >= '0' && *p <= '9') || *p == '-') return number(w, p);
    if (!memcmp(p, "true", 4) || !memcmp(p, "null", 4)) return p + 4;
    if (!memcmp(p, "false", 5)) return p + 5;
    return bad(w, p);
}
static text key(walk_t *w, text p) {
    p = space(p);
    if (*p != '"') return bad(w, p);
    p = string(w, p + 1);
    if (!p) return 0;
    p = space(p + 1);
    return *p == ':' ? space(p + 1) : bad(w, p);
}
static text value(walk_t *w, text p) {
    uint64_t kinds = 0;
    int depth = 0;
    if (*p != '[' && *p != '{') return scalar(w, p);
    for (;;) {
        if (*p == '[' || *p == '{') {
            uint8_t c = *p;
            if (++depth > 48) return fail(w, DEPTH);
            kinds = kinds << 1 | (c == '{');
            p = space(p + 1);
            if (*p != c + 2) {
                if (c == '{' && !(p = key(w, p))) return 0;
                continue;
            }
        } else {
            if (!(p = scalar(w, p))) return 0;
            p = space(p);
        }
        while (*p == (kinds & 1 ? '}' : ']')) {
            kinds >>= 1;
            if (--depth == 0) return p + 1;
            p = space(p + 1);
        }
        if (*p != ',') return bad(w, p);
        p = space(p + 1);
        if ((kinds & 1) && !(p = key(w, p))) return 0;
    }
}
static text decimal_slow(text p, int64_t decimals, int64_t *out) {
    uint64_t m = 0;
    int64_t whole = 0, fraction = -1, why = 0;
    for (;; p++) {
        uint8_t c = *p;
        if (c >= '0' && c <= '9') {
            if (fraction < 0) whole++; else fraction++;
            if (fraction > decimals) { if (c != '0' && why > INEXACT) why = INEXACT; }
            else if (m > (INT_MAX_64 - (c - '0')) / 10) why = OVERFLOWED;
            else m = m * 10 + (c - '0');
        } else if (c == '.' && fraction < 0) fraction = 0;
        else break;
    }
    if (*p != '"' || !whole || !fraction) { *out = *p ? NUMBER : TRUNCATED; return 0; }
    for (int64_t i = fraction > 0 ? fraction : 0; i < decimals; i++) {
        if (m > INT_MAX_64 / 10) { why = OVERFLOWED; break; }
        m *= 10;
    }
    *out = why ? why : (int64_t)m;
    return why ? 0 : p;
}
static inline text decimal(text p, int64_t decimals, int64_t *out) {
    uint64_t c = word(p);
    int n = zeros(nondigits(c)) >> 3;
    if (__builtin_expect(n == 0 || n == 8 || decimals > 8, 0)) return decimal_slow(p, decimals, out);
    int64_t whole = eight(c << (64 - 8 * n) & 0x0F0F0F0F0F0F0F0Full) * POWERS[decimals];
    if (p[n] == '"') { *out = whole; return p + n; }
    text f = p + n + 1;
    c = word(f);
    uint64_t m = nondigits(c) >> 7;
    int k = zeros(m) >> 3;
    if (__builtin_expect(p[n] != '.' || k == 0 || f[k] != '"', 0)) return decimal_slow(p, decimals, out);
    uint64_t d = c & (m - 1) & ~m & 0x0F0F0F0F0F0F0F0Full;
    if (decimals == 0) { *out = d ? INEXACT : whole; return d ? 0 : f + k; }
    int shift = 64 - 8 * (int)decimals;
    if ((d << shift) >> shift != d) { *out = INEXACT; return 0; }
    *out = whole + eight(d << shift);
    return f + k;
}
static text level_open(walk_t *w, text p) {
    p = space(p);
    if (*p != '[') return fail(w, *p ? TYPE : TRUNCATED);
    p = space(p + 1);
    return *p == '"' ? p + 1 : fail(w, *p ? TYPE : TRUNCATED);
}
static text level_between(walk_t *w, text p) {
    p = space(p + 1);
    if (*p != ',') return fail(w, *p ? TYPE : TRUNCATED);
    p = space(p + 1);
    return *p == '"' ? p + 1 : fail(w, *p ? TYPE : TRUNCATED);
}
static text level_close(walk_t *w, text p) {
    p = space(p + 1);
    while (*p == ',') {
        if (!(p = value(w, space(p + 1)))) return 0;
        p = space(p);
    }
    return *p == ']' ? space(p + 1) : bad(w, p);
}
static text side(walk_t *w, text p, const symbol *s, const out_t *o, int which) {
    int64_t row = w->used, (*levels)[2] = o->levels;
    int64_t pd = s->price_decimals, qd = s->quantity_decimals;
    w->start[which] = row;
    p = space(p + 1);
    if (*p == ']') { w->count[which] = 0; return p + 1; }
    for (;;) {
        if (LIKELY((word(p) & 0xFFFF) == 0x225B)) p += 2;
        else if (!(p = level_open(w, p))) return 0;
        if (row >= o->rows) return fail(w, SIZE);
        int64_t v;
        if (!(p = decimal(p, pd, &v))) return fail(w, v);
        levels[row][0] = v;
        if (LIKELY((word(p) & 0xFFFFFF) == 0x222C22)) p += 3;
        else if (!(p = level_between(w, p))) return 0;
        if (!(p = decimal(p, qd, &v))) return fail(w, v);
        levels[row++][1] = v;
        uint64_t c = word(p) & 0xFFFFFF;
        if (LIKELY(c == 0x2C5D22)) { p += 3; continue; }
        if (c == 0x5D5D22) { p += 3; break; }
        if (!(p = level_close(w, p))) return 0;
        if (*p == ']') { p++; break; }
        if (*p != ',') return bad(w, p);
        p++;
    }
    w->count[which] = row - w->used;
    w->used = row;
    return p;
}
static int escaped(text p) {
    while (*p != '"' && *p != '\\') p++;
    return *p == '\\';
}
enum { TRADE = 1, AGGREGATE, BOOK, TICKER, MARK };
static inline int64_t event_of(const walk_t *w) {
    const uint64_t ticker = BIT(CELL('a')) | BIT(CELL('A')) | BIT(CELL('b')) | BIT(CELL('B'))
                            | BIT(CELL('s')) | BIT(CELL('u'));
    if (!(w->seen & BIT(CELL('e')))) return (w->seen & ticker) == ticker ? TICKER : NOT_COVERED;
    text p = w->at[CELL('e')];
    if (*p++ != '"') return TYPE;
    if (!memcmp(p, "depthUpdate\"", 12)) return BOOK;
    if (!memcmp(p, "bookTicker\"", 11)) return TICKER;
    if (!memcmp(p, "trade\"", 6)) return TRADE;
    if (!memcmp(p, "aggTrade\"", 9)) return AGGREGATE;
    if (!memcmp(p, "markPriceUpdate\"", 16)) return MARK;
    return escaped(p) ? TYPE : NOT_COVERED;
}
static inline const symbol *find(walk_t *w, const out_t *o) {
    if (!(w->seen & BIT(CELL('s')))) { w->fault = MISSING; return 0; }
    text p = w->at[CELL('s')];
    if (*p++ != '"') { w->fault = TYPE; return 0; }
    int64_t n = w->end[CELL('s')] - p - 1;
    w->fault = SYMBOL;
    if (n <= 0 || n > 32) { if (escaped(p)) w->fault = TYPE; return 0; }
    uint64_t k[4] = {0, 0, 0, 0};
    for (int64_t i = 0; i * 8 < n; i++) {
        int64_t left = n - i * 8;
        k[i] = left < 8 ? word(p + i * 8) & (BIT(8 * left) - 1) : word(p + i * 8);
    }
    uint64_t h = ((k[0] ^ (k[1] * 0x2545F491ull)) + (uint64_t)n) * 0x9E3779B97F4A7C15ull;
    for (int64_t e = (h >> 40) & (o->entries - 1);; e = (e + 1) & (o->entries - 1)) {
        const symbol *s = o->symbols + e;
        if (!s->length) { if (escaped(p)) w->fault = TYPE; return 0; }
        if (s->length == n && s->key[0] == k[0] && s->key[1] == k[1] && s->key[2] == k[2]
            && s->key[3] == k[3]) return s;
    }
}
static text long_key(walk_t *w, text p, int *cell) {
    *cell = -1;
    if (!memcmp(p, "\"pu\":", 5)) { *cell = PU; return space(p + 5); }
    p = space(p);
    if (*p != '"') return bad(w, p);
    text s = p + 1;
    if (!(p = string(w, s))) return 0;
    if (escaped(s)) return fail(w, SYNTAX);
    int64_t n = p - s;
    if (n == 1) { if ((*s | 32) >= 'a' && (*s | 32) <= 'z') *cell = CELL(*s); }
    else if (n == 2 && !memcmp(s, "pu", 2)) *cell = PU;
    else if (n == 4 && !memcmp(s, "bids", 4)) *cell = BIDS;
    else if (n == 4 && !memcmp(s, "asks", 4)) *cell = ASKS;
    else if (n == 4 && !memcmp(s, "data", 4)) *cell = DATA;
    else if (n == 6 && !memcmp(s, "stream", 6)) *cell = STREAM;
    else if (n == 12 && !memcmp(s, "lastUpdateId", 12)) *cell = LAST_UPDATE_ID;
    p = space(p + 1);
    return *p == ':' ? space(p + 1) : bad(w, p);
}
static text walk(walk_t *w, text p, int full, const out_t *o) {
    w->seen = 0;
    p = space(p);
    while (*p != '}') {
        uint64_t c = word(p);
        uint8_t letter = c >> 8;
        int cell;
        if (LIKELY((c & 0xFFFF00FFull) == 0x3A220022ull && (letter | 32) >= 'a'
                   && (letter | 32) <= 'z')) {
            cell = CELL(letter);
            p += 4;
            if (*p <= ' ') p = space(p);
        } else if (!(p = long_key(w, p, &cell))) return 0;
        text start = p;
        if (*p == '"') {
            if (!(p = string(w, p + 1))) return 0;
            p++;
        } else if (*p >= '0' && *p <= '9') p = number(w, p);
        else if (*p == '[' && (cell == CELL('a') || cell == CELL('b') || cell == BIDS
                               || cell == ASKS)) {
            if (!w->entry && full && event_of(w) == BOOK) w->entry = find(w, o);
            if (w->entry) {
                p = side(w, p, w->entry, o, cell == CELL('a') || cell == ASKS);
                start = 0;
            } else p = value(w, p);
        } else p = value(w, p);
        if (!p) return 0;
        if (cell >= 0) {
            if (w->seen & BIT(cell)) return fail(w, SYNTAX);
            w->seen |= BIT(cell);
            w->at[cell] = start;
            w->end[cell] = p;
        }
        if (*p <= ' ') p = space(p);
        if (*p == ',') {
            if (*++p != '"') { p = space(p); if (*p != '"') return bad(w, p); }
        } else if (*p != '}') return bad(w, p);
    }
    return p + 1;
}
static inline int64_t whole(const walk_t *w, int cell) {
    if (!(w->seen & BIT(cell))) return MISSING;
    text p = w->at[cell];
    if (*p < '0' || *p > '9') return *p == '-' ? NUMBER : TYPE;
    uint64_t c = word(p), v;
    int n = zeros(nondigits(c)) >> 3;
    if (n < 8) { v = eight(c << (64 - 8 * n) & 0x0F0F0F0F0F0F0F0Full); p += n; }
    else {
        v = eight(c & 0x0F0F0F0F0F0F0F0Full);
        p += 8;
        c = word(p);
        n = zeros(nondigits(c)) >> 3;
        if (n == 8) {
            v = v * 100000000 + eight(c & 0x0F0F0F0F0F0F0F0Full);
            for (p += 8; *p >= '0' && *p <= '9'; p++) {
                if (v > (INT_MAX_64 - (*p - '0')) / 10) return OVERFLOWED;
                v = v * 10 + (*p - '0');
            }
        } else if (n) {
            v = v * POWERS[n] + eight(c << (64 - 8 * n) & 0x0F0F0F0F0F0F0F0Full);
            p += n;
        }
    }
    return *p == '.' || (*p | 32) == 'e' ? NUMBER : (int64_t)v;
}
static inline int64_t amount(const walk_t *w, int cell, int64_t decimals) {
    int64_t v;
    if (!(w->seen & BIT(cell))) return MISSING;
    if (*w->at[cell] != '"') return TYPE;
    decimal(w->at[cell] + 1, decimals, &v);
    return v;
}
static inline int64_t optional(const walk_t *w, int cell) {
    if (!(w->seen & BIT(cell)) || !memcmp(w->at[cell], "\"\"", 2)) return 0;
    return amount(w, cell, 12);
}
static inline int64_t nanoseconds(int64_t t) {
    if (t < 0) return t;
    if (t >= 1000000000000000ll) return t <= 9223372036854775ll ? t * 1000 : OVERFLOWED;
    return t <= 9223372036854ll ? t * 1000000 : OVERFLOWED;
}
static inline int64_t time_at(const walk_t *w, int cell) {
    return w->seen & BIT(cell) ? nanoseconds(whole(w, cell)) : 0;
}
static inline int64_t worst(int64_t a, int64_t b) { return a < b ? a : b; }
static inline item *begin(const out_t *o, int64_t n, int64_t kind, const symbol *s, int64_t ns) {
    item *i = o->items + n;
    memset(i, 0, sizeof *i);
    i->kind = kind;
    i->instrument = s->instrument;
    i->exchange_ns = ns;
    i->previous_id = -1;
    return i;
}
static int64_t put_trade(walk_t *w, int64_t event, const symbol *s, const out_t *o, int64_t n) {
    int64_t price = amount(w, CELL('p'), s->price_decimals);
    int64_t quantity = amount(w, CELL('q'), s->quantity_decimals);
    int64_t id = whole(w, event == AGGREGATE ? CELL('a') : CELL('t'));
    int64_t ns = nanoseconds(whole(w, CELL('E')));
    int64_t flags = event == AGGREGATE ? 16 : 0;
    if (!(w->seen & BIT(CELL('m')))) return MISSING;
    uint8_t m = *w->at[CELL('m')];
    if (m != 't' && m != 'f') return TYPE;
    if (w->seen & BIT(CELL('X'))) {
        text x = w->at[CELL('X')];
        if (*x != '"') return TYPE;
        if (memcmp(x, "\"MARKET\"", 8)) { if (escaped(x + 1)) return TYPE; flags |= 8; }
    }
    int64_t bad_one = worst(worst(price, quantity), worst(id, ns));
    if (bad_one < 0) return bad_one;
    item *i = begin(o, n, 1, s, ns);
    i->first_id = id;
    i->price = price;
    i->quantity = quantity;
    i->side = m == 't' ? -1 : 1;
    i->flags = flags;
    return 1;
}
static int64_t put_ticker(walk_t *w, const symbol *s, const out_t *o, int64_t n) {
    int64_t bid = amount(w, CELL('b'), s->price_decimals);
    int64_t bids = amount(w, CELL('B'), s->quantity_decimals);
    int64_t ask = amount(w, CELL('a'), s->price_decimals);
    int64_t asks = amount(w, CELL('A'), s->quantity_decimals);
    int64_t id = whole(w, CELL('u')), ns = time_at(w, CELL('E'));
    int64_t bad_one = worst(worst(worst(bid, bids), worst(ask, asks)), worst(id, ns));
    if (bad_one < 0) return bad_one;
    item *i = begin(o, n, 4, s, ns);
    i->first_id = id;
    i->price = bid;
    i->quantity = bids;
    i->price_2 = ask;
    i->quantity_2 = asks;
    return 1;
}
static inline int64_t index_given(const walk_t *w, int cell) {
    return w->seen & BIT(cell) && memcmp(w->at[cell], "\"\"", 2) ? 1 : 0;
}
static int64_t put_mark(walk_t *w, const symbol *s, const out_t *o, int64_t n) {
    int64_t mark = amount(w, CELL('p'), 12), index = optional(w, CELL('i'));
    int64_t settle = optional(w, CELL('P')), ns = nanoseconds(whole(w, CELL('E')));
    int64_t next = time_at(w, CELL('T')), rate = 0, mask = 1;
    mask |= index_given(w, CELL('i')) << 1 | index_given(w, CELL('P')) << 2;
    mask |= (int64_t)(w->seen & BIT(CELL('T')) ? 1 : 0) << 4;
    if (w->seen & BIT(CELL('r'))) {
        text r = w->at[CELL('r')];
        if (*r++ != '"') return TYPE;
        if (*r != '"') {
            mask |= 8;
            if (!decimal(r + (*r == '-'), 18, &rate)) return rate;
            if (*r == '-') rate = -rate;
        }
    }
    int64_t bad_one = worst(worst(worst(mark, index), worst(settle, ns)), next);
    if (bad_one < 0) return bad_one;
    item *i = begin(o, n, 5, s, ns);
    i->price = mark;
    i->quantity = index;
    i->price_2 = settle;
    i->quantity_2 = rate;
    i->next_ns = next;
    i->mask = mask;
    return 1;
}
static int64_t put_book(walk_t *w, int rest, const symbol *s, const out_t *o, int64_t n) {
    int cells[2] = {rest ? BIDS : CELL('b'), rest ? ASKS : CELL('a')};
    int64_t last = whole(w, rest ? LAST_UPDATE_ID : CELL('u'));
    int64_t first = rest ? last : whole(w, CELL('U'));
    int64_t previous = !rest && w->seen & BIT(PU) ? whole(w, PU) : 0;
    int64_t ns = time_at(w, CELL('E'));
    if (!rest && !(w->seen & BIT(CELL('E')))) return MISSING;
    for (int k = 0; k < 2; k++) {
        if (!(w->seen & BIT(cells[k]))) return MISSING;
        text p = w->at[cells[k]];
        if (!p) continue;
        if (*p != '[') return TYPE;
        if (!side(w, p, s, o, k)) return w->fault;
    }
    int64_t bad_one = worst(worst(last, first), worst(previous, ns));
    if (bad_one < 0) return bad_one;
    item *i = begin(o, n, rest ? 3 : 2, s, ns);
    i->first_id = first;
    i->last_id = last;
    if (!rest && w->seen & BIT(PU)) i->previous_id = previous;
    i->bid_start = w->start[0];
    i->bid_count = w->count[0];
    i->ask_start = w->start[1];
    i->ask_count = w->count[1];
    return 1;
}
static int64_t put_event(walk_t *w, int full, const out_t *o, int64_t n) {
    int64_t event = event_of(w);
    if (event < 0) return event;
    if (event == BOOK && !full) return NOT_COVERED;
    const symbol *s = w->entry ? w->entry : find(w, o);
    if (!s) return w->fault;
    if (n >= o->items_max) return SIZE;
    if (event == BOOK) return put_book(w, 0, s, o, n);
    if (event == TICKER) return put_ticker(w, s, o, n);
    return event == MARK ? put_mark(w, s, o, n) : put_trade(w, event, s, o, n);
}
static text payload(walk_t *w, text p, int full, const out_t *o, int64_t *result) {
    int several = *p == '[';
    *result = NOT_COVERED;
    w->used = 0;
    if (*p != '{' && !several) return value(w, p);
    if (several) {
        p = space(p + 1);
        if (*p == ']') return p + 1;
    }
    int64_t count = 0, none = NOT_COVERED;
    for (;;) {
        int64_t used = w->used, got = NOT_COVERED;
        if (*p == '{') {
            w->entry = 0;
            if (!(p = walk(w, p + 1, full, o))) return 0;
            got = put_event(w, full, o, count);
            if (got > 0) count++;
            else w->used = used;
        } else if (!(p = value(w, p))) return 0;
        if (!several || (got < 0 && got != NOT_COVERED && got != SYMBOL)) { *result = got; return p; }
        if (got < none) none = got;
        p = space(p);
        if (*p == ']') { *result = count ? count : none; return p + 1; }
        if (*p != ',') return bad(w, p);
        p = space(p + 1);
    }
}
static int64_t book_stream(text p) {
    if (escaped(p)) return TYPE;
    while (*p != '"' && *p != '@') p++;
    return *p == '@' && !memcmp(p + 1, "depth", 5) && (p[6] == '"' || p[6] == '@');
}
static int64_t ended(walk_t *w, text p, text end, int64_t result) {
    if (!p) return w->fault;
    p = space(p);
    return p == end ? result : *p ? SYNTAX : TRUNCATED;
}
int64_t scan(text data, int64_t length, int64_t kind, int64_t instrument, const symbol *symbols,
             int64_t entries, item *items, int64_t items_max, int64_t (*levels)[2], int64_t rows) {
    out_t o = {symbols, entries, items, items_max, levels, rows};
    walk_t w;
    text end = data + length, p;
    int64_t result, full;
    if (*end) return TRUNCATED;
    w.used = 0;
    w.entry = 0;
    if (kind == 3) {
        p = space(data);
        if (*p != '{') return ended(&w, value(&w, p), end, TYPE);
        for (int64_t e = 0; e < entries && !w.entry; e++)
            if (symbols[e].length && symbols[e].instrument == instrument) w.entry = symbols + e;
        if (!w.entry) return SYMBOL;
        if (!(p = walk(&w, p + 1, 0, &o))) return w.fault;
        return ended(&w, p, end, put_book(&w, 1, w.entry, &o, 0));
    }
    if (!memcmp(data, "{\"stream\":\"", 11)) {
        if (!(p = string(&w, data + 11))) return w.fault;
        if (!memcmp(p + 1, ",\"data\":", 8)) {
            if ((full = book_stream(data + 11)) < 0) return full;
            if (!(p = payload(&w, p + 9, (int)full, &o, &result))) return w.fault;
            if (LIKELY(*p == '}' && p + 1 == end)) return result;
        }
    }
    p = space(data);
    if (*p != '{') {
        p = payload(&w, p, 1, &o, &result);
        return ended(&w, p, end, result);
    }
    w.used = 0;
    w.entry = 0;
    if (!(p = walk(&w, p + 1, 1, &o))) return w.fault;
    if (!(w.seen & BIT(STREAM)) || !(w.seen & BIT(DATA)))
        return ended(&w, p, end, put_event(&w, 1, &o, 0));
    text inner = w.at[DATA], stream = w.at[STREAM];
    if (*stream != '"') return TYPE;
    if ((full = book_stream(stream + 1)) < 0) return full;
    if (!payload(&w, inner, (int)full, &o, &result)) result = w.fault;
    return ended(&w, p, end, result);
}
int64_t scan_all(text data, const int64_t *starts, const int64_t *lengths, int64_t frames,
                 const symbol *symbols, int64_t entries, item *items, int64_t items_max,
                 int64_t (*levels)[2], int64_t rows) {
    int64_t total = 0;
    for (int64_t n = 0; n < frames; n++)
        total += scan(data + starts[n], lengths[n], 1, -1, symbols, entries, items, items_max,
                      levels, rows);
    return total;
}
