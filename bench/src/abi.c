/* The structs of wal.h that grow: what the benchmarks look at of them, taken out by name. */
#include <wal.h>

typedef struct { uint64_t last_seq, durable_seq, segments, spares, records, syncs, rotations, segments_forgotten; } bench_stat_t;
typedef struct { uint64_t segments, spares, bytes_read, copied_bytes, clean; } bench_report_t;

wal_status_t bench_stat(const wal_t *wal, bench_stat_t *out, wal_error_t *err)
{
  wal_stat_t stat;
  wal_status_t status = wal_stat(wal, &stat, sizeof stat, err);
  if (status == WAL_OK) {
    *out = (bench_stat_t){stat.last_seq, stat.durable_seq, stat.segments, stat.spares, stat.records, stat.syncs, stat.rotations, stat.segments_forgotten};
  }
  return status;
}

wal_status_t bench_report(const wal_t *wal, bench_report_t *out, wal_error_t *err)
{
  wal_report_t report;
  wal_status_t status = wal_report(wal, &report, sizeof report, err);
  if (status == WAL_OK) {
    *out = (bench_report_t){report.segments, report.spares, report.bytes_read, report.copied_bytes, report.clean};
  }
  return status;
}
