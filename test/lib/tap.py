"""Runs a file of unittest cases and prints TAP, a line as soon as a case has ended: tap.py FILE [PATTERN]"""
import importlib.util
import sys
import traceback
import unittest

sys.dont_write_bytecode = True


class Tap(unittest.TestResult):
    def _line(self, word, test, details=''):
        print('%s %d - %s' % (word, self.testsRun, test.id().split('.', 1)[1]))
        for line in details.splitlines():
            print('# ' + line)
        sys.stdout.flush()

    def addSuccess(self, test):
        self._line('ok', test)

    def addError(self, test, err):
        self._line('not ok', test, ''.join(traceback.format_exception(*err)))

    addFailure = addError

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.addError(subtest, err)

    def addSkip(self, test, reason):
        self._line('not ok', test, 'skipped: ' + reason)


def main(path, pattern='*'):
    spec = importlib.util.spec_from_file_location('cases', path)
    cases = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cases)
    loader = unittest.TestLoader()
    loader.testNamePatterns = ['*' + pattern + '*']
    result = Tap()
    loader.loadTestsFromModule(cases).run(result)
    print('1..%d' % result.testsRun)
    return 0 if result.testsRun else 1


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
