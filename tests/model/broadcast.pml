/*
 * The broadcast ring (engine/ring.py): one writer that may die at any store, its successor, and a
 * reader that reads batches in place and checks only the oldest record afterwards.
 *
 * The memory is weak: the stores of a record, and the loads of a batch, happen in any order that
 * the fences and the acquire and release accesses of the code leave. Bodies have two words.
 */
#define RIGHT 0
#define NO_MARK 1           /* the slot is not marked before it is overwritten */
#define NO_WRITE_FENCE 2    /* the mark may become visible after new words */
#define EARLY_COMMIT 3      /* plain store instead of release: the number before the words */
#define NO_ACQUIRE 4        /* words may be read before the number */
#define NO_READ_FENCE 5     /* the check may happen before the words are read */
#define NO_CHECK 6          /* the reader does not look again */
#define SILENT_LAP 7        /* a lapped reader does not count */
#define CURSOR_ONLY 8       /* a successor believes the lazily written cursor */
#define SHORT_SCAN 9        /* ... or looks only for the next number */
#define SUCCESSOR_SKIPS 10  /* ... or skips the record that its predecessor was writing */
#define LAP_MARK_IS_EMPTY 11 /* a reader takes the mark of a later record for an empty slot */
#define CHECK_NEWEST 12     /* the newest record of a batch is checked instead of the oldest */

#ifndef MUTANT
#define MUTANT RIGHT
#endif
#ifndef CAP
#define CAP 2
#endif
#define LAST 5
#define DEATHS 1
#define SLOT(n) ((n) % CAP)

short number[CAP];
byte one[CAP], two[CAP];
byte cursor, published, deaths;
bool dead; /* For good: no successor comes. */

active proctype writer()
{
    short tail, n, found, newest;
    byte i;
    bool marked, first, second;

take_over: skip;
    d_step {
        tail = cursor;
#if MUTANT != CURSOR_ONLY
        i = 0;
        do
        :: i < 2 * CAP ->
            found = number[SLOT(tail + 1)];
            newest = (found >= 0 -> found : -found - 1);
#if MUTANT == SHORT_SCAN
            if :: found == tail + 1 -> skip :: else -> break fi;
#endif
            if :: newest > tail -> tail = newest :: else -> break fi;
            i++
        :: else -> break
        od;
#endif
#if MUTANT == SUCCESSOR_SKIPS
        if :: number[SLOT(tail + 1)] < 0 -> tail++ :: else fi;
#endif
        assert(tail == published) /* No number twice, none left out. */
    }
    do
    :: tail < LAST ->
        d_step { n = tail + 1; marked = false; first = false; second = false }
#if MUTANT == NO_MARK
        marked = true;
#endif
        do
        :: !marked -> number[SLOT(n)] = -n; marked = true
#if MUTANT == NO_WRITE_FENCE
        :: !first -> one[SLOT(n)] = n; first = true
        :: !second -> two[SLOT(n)] = n; second = true
#else
        :: marked && !first -> one[SLOT(n)] = n; first = true
        :: marked && !second -> two[SLOT(n)] = n; second = true
#endif
#if MUTANT == EARLY_COMMIT
        :: marked && number[SLOT(n)] != n ->
#else
        :: marked && first && second ->
#endif
            d_step { number[SLOT(n)] = n; published = n }
            if :: first && second -> break :: else fi
#if MUTANT == EARLY_COMMIT
        :: number[SLOT(n)] == n && first && second -> break
#endif
        :: deaths < DEATHS -> deaths++; goto take_over
        :: dead = true; goto end_
        od;
        skip;
        d_step { tail = n; found = 0; newest = 0; i = 0 }
        if
        :: cursor = n
        :: skip /* Lazily. */
        :: deaths < DEATHS -> deaths++; goto take_over
        fi
    :: else -> break
    od;
    cursor = LAST;
end_: skip
}

active proctype reader()
{
    short p = 1, found, again, newest, target;
    byte accepted, lost, count, i;
    byte a[2], b[2];
    bool got_a[2], got_b[2], checked;

    do
    :: p > LAST -> break
    :: else ->
        d_step {
            got_a[0] = false; got_a[1] = false; got_b[0] = false; got_b[1] = false;
            checked = false; count = 1
        }
#if MUTANT == NO_ACQUIRE
        if :: a[0] = one[SLOT(p)]; got_a[0] = true :: skip fi;
#endif
        /* Spinning on an empty slot, as one step; a reader that waits here for ever is an error,
         * unless the writer is dead for good and the reader has seen everything. */
        if
        :: dead && p == published + 1 -> break
#if MUTANT == LAP_MARK_IS_EMPTY
        :: atomic { number[SLOT(p)] >= p; found = number[SLOT(p)] }
#else
        :: atomic {
               number[SLOT(p)] >= p || -number[SLOT(p)] > p;
               found = number[SLOT(p)]
           }
#endif
        fi;
        if
        :: found == p ->
            if
            :: SLOT(p) + 1 < CAP && number[SLOT(p + 1)] == p + 1 -> count = 2
            :: skip
            fi;
            do
            :: !got_a[0] -> a[0] = one[SLOT(p)]; got_a[0] = true
            :: !got_b[0] -> b[0] = two[SLOT(p)]; got_b[0] = true
            :: count == 2 && !got_a[1] -> a[1] = one[SLOT(p + 1)]; got_a[1] = true
            :: count == 2 && !got_b[1] -> b[1] = two[SLOT(p + 1)]; got_b[1] = true
#if MUTANT == NO_READ_FENCE
            :: !checked -> again = number[SLOT(p)]; checked = true
            :: checked && got_a[0] && got_b[0] && (count == 1 || got_a[1] && got_b[1]) -> break
#else
            :: got_a[0] && got_b[0] && (count == 1 || got_a[1] && got_b[1]) ->
#if MUTANT == CHECK_NEWEST
                again = number[SLOT(p + count - 1)] - count + 1;
#else
                again = number[SLOT(p)];
#endif
                break
#endif
            od;
#if MUTANT == NO_CHECK
            again = p;
#endif
            if
            :: again == p ->
                assert(a[0] == p && b[0] == p);
                assert(count == 1 || (a[1] == p + 1 && b[1] == p + 1));
                accepted = accepted + count
            :: else -> lost = lost + count
            fi;
            p = p + count
        :: else ->
            newest = cursor;
            d_step {
                again = number[SLOT(p)];
                again = (again < 0 -> -again : again);
                newest = (again > newest -> again : newest);
                target = newest - CAP / 2 + 1;
                target = (target > p + 1 -> target : p + 1)
            }
#if MUTANT != SILENT_LAP
            lost = lost + target - p;
#endif
            p = target
        fi;
        assert(accepted + lost == p - 1); /* Nothing is lost without notice. */
        d_step {
            found = 0; again = 0; newest = 0; target = 0; count = 0;
            a[0] = 0; a[1] = 0; b[0] = 0; b[1] = 0
        }
        assert(p <= published + 1)        /* Nothing is skipped that is still to come. */
    od
}
