/*
 * A table's row (engine/table.py): sequence lock, weak memory, a writer that dies at any store and
 * a successor that repairs the row.
 */
#define RIGHT 0
#define NO_ODD 1          /* the version is only raised at the end */
#define NO_WRITE_FENCE 2  /* odd may become visible after new words */
#define EARLY_COMMIT 3    /* even may become visible before the words */
#define NO_READ_FENCE 4   /* the check may happen before the copy */
#define NO_CHECK 5
#define READS_ODD 6       /* the reader does not mind an odd version */
#define NO_REPAIR 7       /* a successor leaves a torn row as it is, and adds 2 to its version */
#define VERSION_RESTARTS 8 /* a successor starts versions anew */

#ifndef MUTANT
#define MUTANT RIGHT
#endif
#define WRITES 3
#define DEATHS 1
#define READS 2

byte version, one, two, deaths, writes;

active proctype writer()
{
    bool odd, first, second;
    byte next;

take_over: skip;
#if MUTANT == VERSION_RESTARTS
    if :: deaths -> version = 0 :: else fi;
#endif
#if MUTANT == NO_REPAIR
    if :: version & 1 -> version++ :: else fi;
#endif
    do
    :: writes < WRITES || version & 1 ->
        d_step {
            writes++;
            odd = false; first = false; second = false;
            next = (version | 1) + 1
        }
#if MUTANT == NO_ODD
        odd = true;
#endif
        do
        :: !odd -> version = version | 1; odd = true
#if MUTANT == NO_WRITE_FENCE
        :: !first -> one = writes; first = true
        :: !second -> two = writes; second = true
#else
        :: odd && !first -> one = writes; first = true
        :: odd && !second -> two = writes; second = true
#endif
#if MUTANT == EARLY_COMMIT
        :: odd && version != next -> version = next
        :: version == next && first && second -> break
#else
        :: odd && first && second -> version = next; break
#endif
        :: deaths < DEATHS -> deaths++; goto take_over
        od
    :: else -> break
    od
}

active proctype reader()
{
    byte before, after, a, b, reads;
    bool got_a, got_b, checked;

    do
    :: reads == READS -> break
    :: else ->
        d_step { got_a = false; got_b = false; checked = false; before = version }
        if
#if MUTANT != READS_ODD
        :: before & 1 -> !(version & 1) /* Tries again, in the code a bounded number of times. */
#endif
        :: else ->
            do
            :: !got_a -> a = one; got_a = true
            :: !got_b -> b = two; got_b = true
#if MUTANT == NO_READ_FENCE
            :: !checked -> after = version; checked = true
            :: checked && got_a && got_b -> break
#else
            :: got_a && got_b -> after = version; break
#endif
            od;
#if MUTANT == NO_CHECK
            after = before;
#endif
            if
            :: after == before -> assert(a == b); reads++
            :: else
            fi
        fi
    od
}
