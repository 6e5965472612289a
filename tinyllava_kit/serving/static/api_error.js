// An error of the API.

/** What the server says is wrong, in one line. */
export class ApiError extends Error {
  constructor(message, status = 0, code = null) {
    super(message);
    this.status = status;
    this.code = code;
  }

  static of(body, status) {
    const { message, code } = body?.error ?? {};
    return new ApiError(message ?? `The server answered with status ${status}.`, status, code);
  }
}
