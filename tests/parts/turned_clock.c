/* Loaded before the C library: what tells the time of day tells it by so many seconds turned.
   They stand in the file that TURNED_CLOCK names, and may change at any moment. Time-outs go by
   the monotonic clock, which is left alone; where they go by the time of day, they are set right. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* No machine has been up for so long: a deadline past it is a time of day. */
#define LONGEST_UPTIME_SECONDS 1000000000

static const volatile int64_t *turned;

__attribute__((constructor)) static void open_clock(void) {
  const char *path = getenv("TURNED_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *memory = mmap(NULL, sizeof *turned, PROT_READ, MAP_SHARED, file, 0);
  if (memory != MAP_FAILED) turned = memory;
  close(file);
}

static time_t turned_seconds(void) { return turned ? (time_t)*turned : 0; }

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = (int)syscall(SYS_clock_gettime, clock, now);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    now->tv_sec += turned_seconds();
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  int failed = (int)syscall(SYS_gettimeofday, now, zone);
  if (!failed && now) now->tv_sec += turned_seconds();
  return failed;
}

time_t time(time_t *kept) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (kept) *kept = now.tv_sec;
  return now.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
  return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, now) ? base : 0;
}

static struct timespec true_deadline(const struct timespec *deadline) {
  struct timespec moved = *deadline;
  if (moved.tv_sec > LONGEST_UPTIME_SECONDS) moved.tv_sec -= turned_seconds();
  return moved;
}

static void *next(const char *name) {
  void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2"); /* else an older one may come */
  return found ? found : dlsym(RTLD_NEXT, name);
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict deadline) {
  static int (*wait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
  if (!wait) wait = next("pthread_cond_timedwait");
  struct timespec moved = true_deadline(deadline);
  return wait(condition, mutex, &moved);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict deadline) {
  static int (*wait)(sem_t *, const struct timespec *);
  if (!wait) wait = next("sem_timedwait");
  struct timespec moved = true_deadline(deadline);
  return wait(semaphore, &moved);
}
