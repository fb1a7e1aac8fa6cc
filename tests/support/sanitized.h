/* Whether this build runs under AddressSanitizer or ThreadSanitizer: SANITIZED is 1 or 0. Such runs take ten times as long and
   reserve terabytes of addresses, so tests of real sizes and of address limits ask. */
#ifndef BS_TESTS_SUPPORT_SANITIZED_H
#define BS_TESTS_SUPPORT_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* gcc says so */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1 /* clang says so */
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#endif
