/* Lets User Mode Linux 6.1 run on processors with AMX. It restores the registers of a process with
 * PTRACE_SETREGSET from a buffer that is made for AVX-512, and the kernel takes the whole state of the processor (11
 * KiB with AMX) or nothing: the node dies of its first process. What it gives is laid over the whole state here.
 * Preloaded into linux.uml by lab.bash; newer User Mode Linux asks how large the state is. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static long as_it_is(long request, long pid, void *address, void *data) {
  static long (*real)(long, ...);
  if (!real) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "ptrace");
  return real(request, pid, address, data);
}

long ptrace(enum __ptrace_request request, ...) {
  va_list rest;
  va_start(rest, request);
  long pid = va_arg(rest, int);
  void *address = va_arg(rest, void *);
  void *data = va_arg(rest, void *);
  va_end(rest);
  if (request != PTRACE_SETREGSET || address != (void *)NT_X86_XSTATE)
    return as_it_is(request, pid, address, data);
  /* Not on the stack: those of User Mode Linux are small. One thread of it traces. */
  static unsigned char whole[1 << 16];
  struct iovec all = {whole, sizeof whole};
  const struct iovec *given = data;
  if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &all) || given->iov_len >= all.iov_len)
    return as_it_is(request, pid, address, data);
  memcpy(whole, given->iov_base, given->iov_len);
  return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &all);
}
