#ifndef GATEWISE_X86_H
#define GATEWISE_X86_H

#if defined(__x86_64__) || defined(_M_X64)
#define IS_X86_64 1
#else
#define IS_X86_64 0
#endif

#endif
