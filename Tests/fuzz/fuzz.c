/* What libFuzzer's own program needs besides a target. */
#include "check.h"
#include "target.h"

#include <stdlib.h>

int checked(void)
{
    if (check_failed() > 0) abort();
    return 0;
}
