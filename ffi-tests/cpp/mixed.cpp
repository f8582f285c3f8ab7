/* One program of two units, with and without exceptions, which are compiled without optimisation: inline functions of both are there, and each must get its
 * own. The unit without exceptions must end the process. */

#include <csignal>
#include <cstdlib>

#include <wal.hpp>

void ask_without_exceptions();

#if defined(__cpp_exceptions)

namespace {

extern "C" void aborted(int)
{
  std::_Exit(0);
}

}  // namespace

int main()
{
  bool caught = false;
  try {
    walpp::log().sync().value();
  } catch (const walpp::failure &failure) {
    caught = failure.error().code() == WAL_E_INVALID;
  }
  if (!caught) return 1;
  std::signal(SIGABRT, aborted);
  ask_without_exceptions();
  return 2;
}

#else

void ask_without_exceptions()
{
  walpp::log().sync().value();
}

#endif
