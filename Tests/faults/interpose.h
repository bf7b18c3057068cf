/* The system's calls that the library makes, which can be made to fail, one at a time. */
#ifndef INTERPOSE_H
#define INTERPOSE_H

#include <stdbool.h>
#include <stddef.h>

typedef enum fault {
    FAULT_MEMORY,           /* malloc and its kin, mmap: ENOMEM               */
    FAULT_THREAD,           /* pthread_create: EAGAIN                         */
    FAULT_OPEN,             /* open, openat, fopen: EMFILE                    */
    FAULT_STAT,             /* stat, lstat, fstat: EIO                        */
    FAULT_READ,             /* read: EIO                                      */
    FAULT_WRITE,            /* write: half is written, then ENOSPC            */
    FAULT_INTERRUPT,        /* read, write: EINTR once                        */
    FAULT_SYNC,             /* fsync: EIO                                     */
    FAULT_CLOSE,            /* close: EIO, and it is closed                   */
    FAULT_RENAME,           /* rename, renameat: EIO                          */
    FAULT_RANDOM,           /* getrandom: ENOSYS                              */
    FAULT_MODE,             /* fchmod, fchown: EPERM                          */
    FAULTS
} fault;

extern const char *const fault_names[FAULTS];

/* Finds the library; false where it is not there. */
bool interpose_find(const char *library);
/* The call number `index` of this kind, from 1 on, fails; 0: none. */
void fault_arm(fault fault, int index);
/* None fails any more; returns whether one has. */
bool fault_disarm(void);
/* How many such calls there were since. */
int fault_count(fault fault);

/* What the library has and has not given back. */
typedef struct holdings {
    long blocks, bytes;     /* of malloc and its kin                          */
    long mapped;            /* bytes, of mmap                                 */
    long threads;           /* started and not joined                         */
    int  descriptors;       /* of the process                                 */
} holdings;

holdings holdings_now(void);

#endif
