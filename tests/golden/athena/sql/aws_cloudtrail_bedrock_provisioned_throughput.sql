    SELECT CAST(to_unixtime(from_iso8601_timestamp(eventtime)) AS bigint) AS "time",
        eventid AS "eventID",
        useridentity.arn AS "userIdentity.arn",
        awsregion AS "awsRegion",
        useridentity.type AS "userIdentity.type",
        useridentity.username AS "userIdentity.userName",
        useridentity.accesskeyid AS "userIdentity.accessKeyId",
        useridentity.sessioncontext.sessionissuer.arn AS "userIdentity.sessionContext.sessionIssuer.arn",
        useridentity.sessioncontext.attributes.mfaauthenticated AS "userIdentity.sessionContext.attributes.mfaAuthenticated",
        sourceipaddress AS "sourceIPAddress",
        vpcendpointid AS "vpcEndpointId",
        useragent AS "userAgent",
        eventsource AS "eventSource",
        eventname AS "eventName",
        errorcode AS "errorCode",
        recipientaccountid AS "recipientAccountId"
    FROM cloudtrail_logs_pp
    WHERE "timestamp" BETWEEN ? AND ?
        AND (lower(eventsource) = 'bedrock.amazonaws.com' AND (lower(eventname) IN ('createprovisionedmodelthroughput', 'updateprovisionedmodelthroughput')))
ORDER BY "time", "eventID";
