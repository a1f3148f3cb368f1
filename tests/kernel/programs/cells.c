// Calls for stacks without frame pointers: a chain, a frame of a size that only the run knows, a recursion, a signal.

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

volatile int cells;
int (*volatile put)(int);

__attribute__((noinline, noipa)) void seal(int n)
{
	cells += n;
}

__attribute__((noinline, noipa)) void fill(int n)
{
	seal(n);
	cells++;
}

__attribute__((noinline, noipa)) void stretch(int n)
{
	volatile char *room = __builtin_alloca(n * 16 + 64);
	room[n] = 1;
	fill(n);
	cells += room[n];
}

__attribute__((noinline, noipa)) void nest(int depth)
{
	if (depth)
		nest(depth - 1);
	else
		stretch(3);
	cells++;
}

void handle(int number)
{
	fill(number);
	cells++;
}

__attribute__((noinline, noipa)) void wake(void)
{
	raise(SIGUSR1);
	cells++;
}

int main(void)
{
	signal(SIGUSR1, handle);
	nest(4);
	wake();
	return 0;
}
