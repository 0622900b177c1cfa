//! The closed list of error codes of the HTTP contract. Codes never change; texts may.

macro_rules! codes {
    ($($status:literal { $($name:ident = $text:literal,)* })*) => {
        /// A code of the contract. Every answer that is not a success carries exactly one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names are the documentation: they are the contract's own words")]
        pub enum ErrorCode { $($($name,)*)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [ErrorCode] = &[$($(Self::$name,)*)*];

            /// The code as it stands in a body.
            pub const fn as_str(self) -> &'static str {
                match self { $($(Self::$name => $text,)*)* }
            }

            /// The HTTP status that goes with it, save [`ErrorCode::AuthAccountDisabled`], which is 403 at login and
            /// 401 where it is the token's owner that is suspended.
            pub const fn status(self) -> u16 {
                match self { $($(Self::$name => $status,)*)* }
            }
        }
    };
}

codes! {
    400 {
        ValidationError = "VALIDATION_ERROR",
        MalformedJson = "MALFORMED_JSON",
        InvalidParameter = "INVALID_PARAMETER",
        BatchTooLarge = "BATCH_TOO_LARGE",
        UnsupportedFormat = "UNSUPPORTED_FORMAT",
        IncompatibleVersion = "INCOMPATIBLE_VERSION",
        LeaseNotActive = "LEASE_NOT_ACTIVE",
        BudgetBelowCommitted = "BUDGET_BELOW_COMMITTED",
        BudgetUnchanged = "BUDGET_UNCHANGED",
        BudgetDecreaseRequiresConfirmation = "BUDGET_DECREASE_REQUIRES_CONFIRMATION",
        InvalidSettingValue = "INVALID_SETTING_VALUE",
        TokenHasNoProject = "TOKEN_HAS_NO_PROJECT",
    }
    401 {
        AuthMissingToken = "AUTH_MISSING_TOKEN",
        AuthInvalidToken = "AUTH_INVALID_TOKEN",
        AuthTokenExpired = "AUTH_TOKEN_EXPIRED",
        AuthTokenRevoked = "AUTH_TOKEN_REVOKED",
        AuthRefreshReused = "AUTH_REFRESH_REUSED",
        AuthInvalidCredentials = "AUTH_INVALID_CREDENTIALS",
        InvalidIcToken = "INVALID_IC_TOKEN",
    }
    403 {
        InsufficientPermissions = "INSUFFICIENT_PERMISSIONS",
        InsufficientScope = "INSUFFICIENT_SCOPE",
        AccessDenied = "ACCESS_DENIED",
        AuthAccountLocked = "AUTH_ACCOUNT_LOCKED",
        AuthAccountDisabled = "AUTH_ACCOUNT_DISABLED",
        AuthSessionRequired = "AUTH_SESSION_REQUIRED",
        ApiTokenRequired = "API_TOKEN_REQUIRED",
        AgentTokenNotAllowed = "AGENT_TOKEN_NOT_ALLOWED",
        BudgetExhausted = "BUDGET_EXHAUSTED",
        AgentFrozen = "AGENT_FROZEN",
        ScopeFrozen = "SCOPE_FROZEN",
        QuotaExceeded = "QUOTA_EXCEEDED",
        NoProviderAssigned = "NO_PROVIDER_ASSIGNED",
        ProviderKeyNotAssigned = "PROVIDER_KEY_NOT_ASSIGNED",
        ProviderKeyDisabled = "PROVIDER_KEY_DISABLED",
        LeaseAgentMismatch = "LEASE_AGENT_MISMATCH",
        LeaseRevoked = "LEASE_REVOKED",
        StaleEpoch = "STALE_EPOCH",
        SelfApproval = "SELF_APPROVAL",
        OwnerBudgetRequired = "OWNER_BUDGET_REQUIRED",
        OriginNotAllowed = "ORIGIN_NOT_ALLOWED",
    }
    404 {
        RouteNotFound = "ROUTE_NOT_FOUND",
        UserNotFound = "USER_NOT_FOUND",
        AgentNotFound = "AGENT_NOT_FOUND",
        ProviderNotFound = "PROVIDER_NOT_FOUND",
        ProviderNotAssigned = "PROVIDER_NOT_ASSIGNED",
        NoProviderKey = "NO_PROVIDER_KEY",
        ProjectNotFound = "PROJECT_NOT_FOUND",
        LeaseNotFound = "LEASE_NOT_FOUND",
        RequestNotFound = "REQUEST_NOT_FOUND",
        LimitNotFound = "LIMIT_NOT_FOUND",
        TokenNotFound = "TOKEN_NOT_FOUND",
        BudgetNotFound = "BUDGET_NOT_FOUND",
        FreezeNotFound = "FREEZE_NOT_FOUND",
        TraceNotFound = "TRACE_NOT_FOUND",
    }
    405 {
        MethodNotAllowed = "METHOD_NOT_ALLOWED",
    }
    410 {
        EndpointDeprecated = "ENDPOINT_DEPRECATED",
        CursorTooOld = "CURSOR_TOO_OLD",
    }
    413 {
        PayloadTooLarge = "PAYLOAD_TOO_LARGE",
    }
    415 {
        UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE",
    }
    409 {
        UserExists = "USER_EXISTS",
        UserAlreadySuspended = "USER_ALREADY_SUSPENDED",
        UserAlreadyActive = "USER_ALREADY_ACTIVE",
        UserDeleted = "USER_DELETED",
        LastAdmin = "LAST_ADMIN",
        SelfModificationForbidden = "SELF_MODIFICATION_FORBIDDEN",
        IcTokenExists = "IC_TOKEN_EXISTS",
        TokenAlreadyRevoked = "TOKEN_ALREADY_REVOKED",
        TokenLimitExceeded = "TOKEN_LIMIT_EXCEEDED",
        LimitExists = "LIMIT_EXISTS",
        BudgetExists = "BUDGET_EXISTS",
        ManagedElsewhere = "MANAGED_ELSEWHERE",
        ProjectExists = "PROJECT_EXISTS",
        ProjectInUse = "PROJECT_IN_USE",
        ProjectProtected = "PROJECT_PROTECTED",
        RequestAlreadyReviewed = "REQUEST_ALREADY_REVIEWED",
        IdempotencyConflict = "IDEMPOTENCY_CONFLICT",
        LeaseActive = "LEASE_ACTIVE",
        LeaseClosed = "LEASE_CLOSED",
        AmountOverflow = "AMOUNT_OVERFLOW",
    }
    429 {
        RateLimitExceeded = "RATE_LIMIT_EXCEEDED",
    }
    500 {
        InternalError = "INTERNAL_ERROR",
    }
    503 {
        ServiceUnavailable = "SERVICE_UNAVAILABLE",
        Overloaded = "OVERLOADED",
        CryptoUnavailable = "CRYPTO_UNAVAILABLE",
    }
    504 {
        QueryTimeout = "QUERY_TIMEOUT",
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
