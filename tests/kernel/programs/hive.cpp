/* A program for probes by demangled names: overloads, templates, namespaces, base classes, references. */
#include <unistd.h>

namespace hive {
struct Insect { int legs; };
class Bee : public Insect {
public:
  long honey;
  Insect *friends[2];
};
__attribute__((noinline)) int feed(Bee &bee, int spoons) { asm volatile("" ::: "memory"); return bee.legs * spoons; }
__attribute__((noinline)) int feed(long drops) { asm volatile("" ::: "memory"); return (int)drops; }
template <typename T> __attribute__((noinline)) T twice(T value) { asm volatile("" ::: "memory"); return value + value; }
}

int main()
{
  hive::Bee bee{};
  bee.legs = 6;
  bee.honey = 77;
  bee.friends[1] = &bee;
  hive::feed(bee, 2);
  hive::feed(5L);
  hive::twice<int>(5);
  hive::twice<long>(7);
  usleep(300000);
  return 0;
}
