/*
 * Payloads of a frame ring (engine/frames.py): bytes are claimed before they are written, and each
 * claim reaches ahead of the frame that needed it. Frames have one or two cells of the area; one
 * cell is claimed ahead, so that only a frame of one may find its bytes claimed. The writer may die
 * at any store. Descriptors are the broadcast ring's business: here they never overwrite.
 */
#define RIGHT 0
#define NO_CLAIM 1             /* frames are written without a claim */
#define LATE_CLAIM 2           /* claims may become visible after the bytes */
#define NO_AHEAD 3             /* a claim does not reach as far ahead as its writer believes */
#define NO_CHECK 4
#define NO_READ_FENCE 5        /* the look at the claim may happen before the copy */
#define OFF_BY_ONE 6           /* the reader allows one cell too many */
#define SUCCESSOR_LOWERS 7     /* a successor claims from the last frame on, below its predecessor */

#ifndef MUTANT
#define MUTANT RIGHT
#endif
#define AREA 4
#define AHEAD 1
#define FRAMES 4
#define DEATHS 1

byte area[AREA];
byte claimed, published, deaths;
byte position[FRAMES + 1], length[FRAMES + 1];

active proctype writer()
{
    byte end, start, n, cells, mine, i;
    bool claims;

    claimed = AHEAD;
    mine = AHEAD;
take_over: skip;
    d_step {
        end = position[published] + length[published];
        mine = (claimed > end + AHEAD -> claimed : end + AHEAD)
    }
#if MUTANT == SUCCESSOR_LOWERS
    mine = end + AHEAD;
#endif
    claimed = mine;
    do
    :: published < FRAMES ->
        n = published + 1;
        if :: cells = 1 :: cells = 2 fi;
        start = end;
        if /* A payload never wraps. */
        :: start % AREA + cells > AREA -> start = start + AREA - start % AREA
        :: else
        fi;
        claims = start + cells > mine;
#if MUTANT == NO_CLAIM
        claims = false;
#endif
        if :: claims -> mine = start + cells + AHEAD :: else fi;
#if MUTANT == NO_AHEAD
        if :: claims -> claimed = start + cells :: else fi;
#elif MUTANT != LATE_CLAIM
        if :: claims -> claimed = mine :: else fi;
#endif
        i = 0;
        do
        :: i < cells -> area[(start + i) % AREA] = n; i++
        :: i == cells -> break
        :: deaths < DEATHS -> deaths++; goto take_over
        od;
#if MUTANT == LATE_CLAIM
        if :: claims -> claimed = mine :: else fi;
#endif
        skip;
        d_step { position[n] = start; length[n] = cells; published = n }
        end = start + cells;
        if :: deaths < DEATHS -> deaths++; goto take_over :: skip fi
    :: else -> break
    od
}

active proctype reader()
{
    byte p = 1, accepted, lost, i, wrong, seen;

    do
    :: p > FRAMES -> break
    :: else ->
        published >= p;
        i = 0;
        wrong = 0;
#if MUTANT == NO_READ_FENCE
        seen = claimed;
#endif
        do
        :: i < length[p] ->
            if :: area[(position[p] + i) % AREA] != p -> wrong++ :: else fi;
            i++
        :: else -> break
        od;
#if MUTANT == NO_CHECK
        seen = 0;
#endif
#if MUTANT != NO_CHECK && MUTANT != NO_READ_FENCE
        seen = claimed;
#endif
        if
#if MUTANT == OFF_BY_ONE
        :: seen <= AREA + position[p] + 1 ->
#else
        :: seen <= AREA + position[p] ->
#endif
            assert(wrong == 0);
            accepted++
        :: else -> lost++
        fi;
        p++
    od;
    assert(accepted + lost == FRAMES)
}
