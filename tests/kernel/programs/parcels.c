/* A program for probes by debug information: functions with arguments of every kind. */
#include <unistd.h>

/* Keeps the compiler from leaving calls out. */
#define WORK(on) __asm__ volatile("" : : "r"(on) : "memory")

enum state { FRESH, SENT = 5, LOST };
struct label { char text[12]; short codes[3]; };
struct parcel {
  int weight;
  unsigned fragile : 1;
  unsigned floor : 7;
  enum state state;
  struct label label;
  struct parcel *next;
  union { int left; float right; };
};
struct point { int x, y; };
struct span { long from, to; };
struct crate { long sides[4]; };

__attribute__((noinline)) int pack(struct parcel *parcel, const char *note, char grade)
{
  WORK(parcel);
  return parcel->weight + (note != 0) + grade; /* line 25 */
}

__attribute__((noinline)) long ship(struct point from, double price, struct span when, struct crate crate, int count,
                                    long sixth, long seventh, signed char eighth)
{
  WORK(&crate);
  return from.x + (long)price + when.from + crate.sides[0] + count + sixth + seventh + eighth;
}

__attribute__((noinline)) struct crate open_crate(int seed)
{
  WORK(&seed);
  return (struct crate){ { seed, 2, 3, 4 } };
}

static inline __attribute__((always_inline)) int weigh(int grams)
{
  struct parcel one = { .weight = grams };
  __asm__ volatile("nop" : : "r"(&one) : "memory");
  return pack(&one, "inlined", 'i');
}

__attribute__((noinline)) int station(int grams)
{
  return weigh(grams) + 1;
}

int main(void)
{
  struct parcel second = { .weight = 7, .state = LOST, .left = -3 };
  struct parcel first = { .weight = 12, .fragile = 1, .floor = 9, .state = SENT, .next = &second };
  for (int i = 0; i < 11; i++)
    first.label.text[i] = "honeycombs!"[i];
  for (int i = 0; i < 3; i++)
    first.label.codes[i] = (short)(-i);
  pack(&first, "mind the bees", 'q');
  ship((struct point){ 1, 2 }, 1.5, (struct span){ 3, 4 }, (struct crate){ { 5, 6, 7, 8 } }, 9, 10, 11, -12);
  open_crate(42);
  station(30);
  usleep(300000);
  return 0;
}
