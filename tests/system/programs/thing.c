/* libthing.so, the library of lacking.c. */
int thing(void);

int
thing(void)
{
    return 42;
}
