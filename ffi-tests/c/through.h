/* A host's file layer that passes everything on to the system's files, and allocates nothing but what a listing needs. */

#ifndef THROUGH_H
#define THROUGH_H

#include <wal.h>

const wal_storage_t *through_storage(void);

#endif
