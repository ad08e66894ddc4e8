/* Reads a ring of test records and a table while Python writes them; used by test_cheader.py.
 *
 * reader ring INSTANCE LAST   read records to LAST, print "accepted lost torn sum position"
 * reader table INSTANCE LAST  read row 1 until LAST stands in it, print "torn last"
 * reader frames INSTANCE LAST read frames to LAST, print "accepted lost torn"
 * reader attach INSTANCE NAME print the result code
 */
#include "trade_infra.h"

#include <stdlib.h>
#include <string.h>

static int read_ring(const char *instance, int64_t last)
{
    struct ti_ring ring;
    struct ti_test_small record;
    int64_t accepted = 0, torn = 0, sum = 0;
    int code = ti_ring_open(&ring, instance, "test.c", sizeof record, TI_TEST_SMALL_FINGERPRINT,
                            TI_OLDEST);
    if (code != TI_OK)
        return 10 - code;
    puts("ready");
    fflush(stdout);
    while (ring.position <= last) {
        if (!ti_ring_poll(&ring, &record))
            continue;
        accepted++;
        sum += record.body[6];
        for (int i = 0; i < 7; i++)
            torn += record.body[i] != 3 * record.sequence;
    }
    printf("%lld %lld %lld %lld %lld\n", (long long)accepted, (long long)ring.lost,
           (long long)torn, (long long)sum, (long long)ring.position);
    ti_detach(&ring.segment);
    return 0;
}

static int read_frames(const char *instance, int64_t last)
{
    struct ti_ring ring;
    struct ti_frame frame;
    int64_t accepted = 0, lost = 0, torn = 0;
    int code =
        ti_ring_open(&ring, instance, "test.c", sizeof frame, TI_FRAME_FINGERPRINT, TI_OLDEST);
    if (code != TI_OK)
        return 10 - code;
    puts("ready");
    fflush(stdout);
    while (ring.position <= last) {
        int64_t wrong = 0;
        if (!ti_ring_poll(&ring, &frame))
            continue;
        const uint8_t *payload = ti_payload(&ring.segment, frame.position);
        for (int64_t i = 0; i < frame.length; i++)
            wrong += payload[i] != (uint8_t)(frame.sequence % 251);
        if (ti_payload_intact(&ring.segment, frame.position)) {
            accepted++;
            torn += wrong;
        } else {
            lost++;
        }
    }
    printf("%lld %lld %lld\n", (long long)accepted, (long long)(lost + ring.lost),
           (long long)torn);
    ti_detach(&ring.segment);
    return 0;
}

static int read_table(const char *instance, int64_t last)
{
    struct ti_segment table;
    struct ti_test_row row;
    int64_t torn = 0;
    int code = ti_attach(&table, instance, "test.c", sizeof row, TI_TEST_ROW_FINGERPRINT);
    if (code != TI_OK)
        return 10 - code;
    if (ti_table_read(&table, 4, &row) || ti_table_read(&table, -1, &row))
        return 9;
    memset(&row, 0, sizeof row);
    puts("ready");
    fflush(stdout);
    while (row.body[0] != last) {
        if (!ti_table_read(&table, 1, &row))
            continue;
        for (int i = 1; i < 15; i++)
            torn += row.body[i] != row.body[0];
    }
    printf("%lld %lld\n", (long long)torn, (long long)row.body[14]);
    ti_detach(&table);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    if (strcmp(argv[1], "ring") == 0)
        return read_ring(argv[2], atoll(argv[3]));
    if (strcmp(argv[1], "frames") == 0)
        return read_frames(argv[2], atoll(argv[3]));
    if (strcmp(argv[1], "table") == 0)
        return read_table(argv[2], atoll(argv[3]));
    struct ti_segment segment;
    printf("%d\n", ti_attach(&segment, argv[2], argv[3], sizeof(struct ti_test_small),
                             TI_TEST_SMALL_FINGERPRINT));
    return 0;
}
