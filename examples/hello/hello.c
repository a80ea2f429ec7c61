/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the platform that it was compiled for, as the compiler knew it. */
#include <stdio.h>

#if defined(__x86_64__)
#define ARCHITECTURE "amd64"
#elif defined(__i386__)
#define ARCHITECTURE "386"
#elif defined(__aarch64__)
#define ARCHITECTURE "arm64"
#elif defined(__arm__) && __ARM_ARCH >= 7
#define ARCHITECTURE "arm/v7"
#elif defined(__arm__)
#define ARCHITECTURE "arm/v6"
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCHITECTURE "riscv64"
#elif defined(__s390x__)
#define ARCHITECTURE "s390x"
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define ARCHITECTURE "ppc64le"
#elif defined(__loongarch64)
#define ARCHITECTURE "loong64"
#else
#error "an architecture that this example does not know"
#endif

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define BYTE_ORDER_NAME "big-endian"
#else
#define BYTE_ORDER_NAME "little-endian"
#endif

int main(void)
{
	printf("hello from linux/%s (%d bit, %s)\n", ARCHITECTURE, (int)sizeof(void *) * 8, BYTE_ORDER_NAME);
	return 0;
}
