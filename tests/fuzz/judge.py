"""Judge one case: it is accepted or refused, or it is a fault."""

import time
import traceback

MOST_SECONDS = 30.0


def judge(parser, case):
    """Run one case: ``accepted``, ``refused`` or ``fault: ...``, and the seconds of a processor that it took."""
    began = time.process_time()
    try:
        parser.read(case)
        found = "accepted"
    except parser.refusals as error:
        found = "refused" if str(error).strip() else "fault: an error without a message"
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in place if "scarlet_zoo" in frame.filename] or list(place)
        last = own[-1]
        where = f"{last.filename.rpartition('scarlet_zoo/')[2]}:{last.lineno}"
        found = f"fault: {type(error).__name__} in {where}: {str(error)[:120]}"
    seconds = time.process_time() - began
    return (found if seconds <= MOST_SECONDS else f"fault: {seconds:.0f} seconds"), seconds
