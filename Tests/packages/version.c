/* What a program that is built against a package finds: the versions of header and
 * library, and the file the library is. */
#define _GNU_SOURCE
#include <covey.h>

#include <dlfcn.h>
#include <stdio.h>

int main(void)
{
    Dl_info info;
    if (!dladdr((void *)covey_version, &info)) return 1;
    printf("%d %d %s\n", COVEY_VERSION, (int)covey_version(), info.dli_fname);
    return 0;
}
