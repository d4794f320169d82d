#include "machine.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#ifndef EM_LOONGARCH
#define EM_LOONGARCH 258
#endif

static const struct {
    unsigned machine;
    unsigned char class; /* 0: any */
    unsigned char order; /* 0: any */
    const char *name;
} names[] = {
    {EM_X86_64, ELFCLASS64, 0, "x86_64"},
    {EM_X86_64, ELFCLASS32, 0, "x32"},
    {EM_386, 0, 0, "i386"},
    {EM_AARCH64, 0, ELFDATA2LSB, "aarch64"},
    {EM_AARCH64, 0, ELFDATA2MSB, "aarch64_be"},
    {EM_ARM, 0, 0, "arm"},
    {EM_RISCV, ELFCLASS64, 0, "riscv64"},
    {EM_RISCV, ELFCLASS32, 0, "riscv32"},
    {EM_PPC64, 0, ELFDATA2LSB, "ppc64le"},
    {EM_PPC64, 0, ELFDATA2MSB, "ppc64"},
    {EM_S390, ELFCLASS64, 0, "s390x"},
    {EM_MIPS, ELFCLASS64, ELFDATA2LSB, "mips64el"},
    {EM_LOONGARCH, 0, 0, "loongarch64"},
};

const char *
machine_of_header(const unsigned char *bytes, size_t size)
{
    unsigned machine;

    if (size < MACHINE_HEADER || memcmp(bytes, ELFMAG, SELFMAG) != 0)
        return "";
    machine = bytes[EI_DATA] == ELFDATA2MSB ? (unsigned)bytes[18] << 8 | bytes[19]
                                            : (unsigned)bytes[19] << 8 | bytes[18];
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (names[i].machine == machine &&
            (names[i].class == 0 || names[i].class == bytes[EI_CLASS]) &&
            (names[i].order == 0 || names[i].order == bytes[EI_DATA]))
            return names[i].name;
    return "unknown";
}

int
machine_of_file(const char *path, const char **machine_p)
{
    unsigned char bytes[MACHINE_HEADER];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;
    int error;

    if (fd < 0)
        return -1;
    n = read(fd, bytes, sizeof(bytes));
    error = errno;
    close(fd);
    errno = error;
    if (n < 0)
        return -1;
    *machine_p = machine_of_header(bytes, (size_t)n);
    return 0;
}

const char *
machine_host(void)
{
    static const char *host;

    if (host == NULL && machine_of_file("/proc/self/exe", &host) != 0)
        host = "unknown";
    return host;
}
