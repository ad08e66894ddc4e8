/*
 * The flow-controlled ring (engine/flow.py): the writer keeps off what its reader has not done
 * with; the reader dies and comes back at any step; a dead reader may be evicted. The reader reads
 * in place without a check while its gate holds the writer back, and with one otherwise.
 */
#define RIGHT 0
#define NO_GATE 1          /* the writer does not look at the reader */
#define EARLY_ADVANCE 2    /* a position goes out before the record has been read */
#define OFF_BY_ONE 3       /* the writer takes one slot too many */
#define NO_SECOND_LOOK 4   /* an eviction does not look again whether the reader lives */
#define TRUSTS_EVICTION 5  /* back from an eviction, the reader reads without a check */
#define LATE_LOOK 6        /* the reader looks at its gate after it found the record */
#define SILENT_EVICTION 7  /* the reader is not told */
#define RESTARTS_AT_END 8  /* a reader that died goes on at the ring's end */
#define LATE_LOCK 9        /* a reader looks at its gate before it takes its lock */

#ifndef MUTANT
#define MUTANT RIGHT
#endif
#define CAP 2
#define LAST 6
#define DEATHS 2
#define EVICTIONS 1
#define SLOT(n) ((n) % CAP)

short number[CAP];
byte body[CAP];
byte newest;                       /* of the writer */
byte done;                         /* the reader's own segment */
byte held, evicted_at;             /* the gate, written by the writer */
bool evicted, alive;
byte deaths, evictions;
bool delivered[LAST + 1], told[LAST + 1];

active proctype writer()
{
    byte room = CAP, where;
    bool living;

    do
    :: newest < LAST && newest < room ->
        number[SLOT(newest + 1)] = -(newest + 1);
        body[SLOT(newest + 1)] = newest + 1;
        d_step { number[SLOT(newest + 1)] = newest + 1; newest++ }
    :: newest < LAST && (newest >= room || evicted) -> /* Look at the reader. */
        living = alive;
        where = done;
        if
        :: evicted && (!living || where < evicted_at) -> room = newest + CAP
        :: else ->
            if
            :: evicted -> held = where; evicted = false
            :: else -> held = (where > held -> where : held)
            fi;
            room = held + CAP
        fi;
#if MUTANT == NO_GATE
        room = newest + CAP;
#endif
#if MUTANT == OFF_BY_ONE
        room++;
#endif
        if
        :: !living && !evicted && evictions < EVICTIONS ->
            evictions++;
            evicted_at = newest;
            evicted = true;
#if MUTANT != NO_SECOND_LOOK
            if :: alive -> evicted = false :: else fi
#endif
        :: skip
        fi
    :: newest == LAST -> break
    od
}

active proctype reader()
{
    byte p, i, value, end;
    short again;
    bool unprotected, gone;

attach_: skip;
#if MUTANT == LATE_LOCK
    gone = evicted && (done > held -> done : held) < evicted_at;
    unprotected = evicted;
    alive = true;
#else
    alive = true;
    gone = evicted && (done > held -> done : held) < evicted_at;
#endif
    p = (done > held -> done : held);
#if MUTANT == RESTARTS_AT_END
    p = newest;
#endif
    if
    :: gone ->
give_up: skip;
        d_step {
            end = newest;
            i = p + 1;
            do
            :: i <= end ->
#if MUTANT != SILENT_EVICTION
                told[i] = true;
#endif
                i++
            :: else -> break
            od
        }
        done = end;
        alive = false;
        goto attach_
    :: else
    fi;
    done = p;
    do
    :: p == LAST -> break
    :: deaths < DEATHS -> d_step { deaths++; alive = false }; goto attach_
    :: p < LAST ->
#if MUTANT != LATE_LOCK
        unprotected = evicted;
#endif
        atomic { number[SLOT(p + 1)] >= p + 1 || -number[SLOT(p + 1)] > p + 1;
                 again = number[SLOT(p + 1)] }
        if :: again != p + 1 -> goto give_up :: else fi;
#if MUTANT == LATE_LOOK
        unprotected = evicted;
#endif
#if MUTANT == TRUSTS_EVICTION
        unprotected = false;
#endif
#if MUTANT == EARLY_ADVANCE
        done = p + 1;
#endif
        if :: deaths < DEATHS -> d_step { deaths++; alive = false }; goto attach_ :: skip fi;
        value = body[SLOT(p + 1)];
        if
        :: unprotected && number[SLOT(p + 1)] != p + 1 -> goto give_up
        :: else
        fi;
        assert(value == p + 1);
        p++;
        delivered[p] = true;
#if MUTANT != EARLY_ADVANCE
        done = p
#endif
    od;
    skip;
    d_step {
        i = 1;
        do
        :: i <= LAST -> assert(delivered[i] || told[i]); i++ /* Never lost silently. */
        :: else -> break
        od
    }
}
