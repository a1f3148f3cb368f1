// Maps as numbers, without types, as old files and aya's have them.
#define SEC(name) __attribute__((section(name), used))

struct definition {
	unsigned type, key_size, value_size, max_entries, flags, id, pinning;
};

struct definition counts SEC("maps") = { 1, 4, 8, 16, 1, 0, 0 };
struct definition shared SEC("maps") = { 2, 4, 8, 1, 0, 0, 1 };

static void *(*lookup)(void *map, const void *key) = (void *)1;

SEC("socket") int filter(void *ctx)
{
	unsigned zero = 0;
	unsigned long *cell = lookup(&shared, &zero);

	if (cell)
		__sync_fetch_and_add(cell, 1);
	return lookup(&counts, &zero) != 0;
}

char _license[] SEC("license") = "GPL";
